"""How a run goes on in a Slurm job that was started again, with nobody watching: in the same folders, from its newest
checkpoint.

The keeper of each node calls `requeued`, with nothing but what the nodes have. Only the front door may enter.
"""
