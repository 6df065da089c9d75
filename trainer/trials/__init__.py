"""A device of a host, alone: a script of the user's own is run on it for a while, or steps of its `motley.session()`
are counted and timed; and with how many threads steps are fastest. `verbs` may enter.
"""
