"""The hosts of a cluster as connections, whatever the way to each, opened once and kept.

The rooms after it on the road may enter.
"""
