"""A run that is told again from its folder, as its own console was told of it: no host is asked.

The commands may enter.
"""
