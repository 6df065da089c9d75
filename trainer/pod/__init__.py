"""How a run starts in pods of Kubernetes, where no console is: each pod starts its own part of it, and ends with it.

`place` finds out which of the run's hosts a pod is, from what the operator gives; `description` is what
`motley export kubernetes` wrote for all pods alike; `start` makes the host's spec of both, and stays to the end;
`records` prints what the run tells.
"""
