"""How the global batch is shared out over unequal ranks, and what is said of hosts that hold the others up. No torch.

`training`, `rank` and `verbs` may enter. The sums are those of `profiles`; what is here knows when to do them.
"""
