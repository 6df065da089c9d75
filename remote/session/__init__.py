"""A run as the master sees it: start or find it, follow it, change its hosts, replace its leader, stop it.

The end of the road: only `console` enters.
"""
