"""The training loop of one rank, and what a step is made of. It knows nothing of processes. Imports torch.

`rank` and `verbs` may enter; what is exact here is held by tests against a single process.
"""
