"""What a script writes and its user wants at home: which files these are, when they are whole, and sending them.

`[run] results` names them by patterns. The script then has a working folder of its own, so that `out/` is this run's.
"""
