"""One file for each command of `motley` that is more than a call, and what they share. Only `cli` and its
parts may enter.
"""
