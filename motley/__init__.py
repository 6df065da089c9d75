"""Motley trains one model on the machines you have. This is its one import name.

In a checkout the four packages in here are links to the folders beside it; a wheel has them as they are.
It imports nothing: every process on a host reads it, also one whose Python is too old for the rest.
"""

__version__ = "0.1.0"
