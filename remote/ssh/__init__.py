"""Connections to hosts, and the keys on both sides. The only room that imports asyncssh.

`hosts` and the rooms after it may enter.
"""
