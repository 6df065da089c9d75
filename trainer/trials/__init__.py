"""A script of the user's own on one device of a host, alone: it is run for a while, or steps of its `motley.session()`
are counted and timed. `verbs` may enter.
"""
