"""The process that owns a run on its host: it starts the ranks (forked, executed, in containers), keeps what they
print, emulates a slower host for a script, and ends them all.

Only `verbs` and the front door may enter. No torch.
"""
