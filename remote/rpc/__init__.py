"""The trainer's verbs as calls: what is asked of our code on a host, and what it answers. `experiment`,
`launch` and `session` may enter.
"""
