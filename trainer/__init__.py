"""Everything that runs on a host. Pushed whole, together with `profiles`; `trainer.__main__` lists its verbs.

A room for each kind of process: `verbs` (short-lived, started by the master), `supervisor`, `coordinator`, `rank`.
These know nothing of one another: they talk over files, sockets and signals. Below them `training` is what a rank
computes, `balance` how the batch is shared out, `tasks` what is trained; `host` and `contract` are the ground.
`bootstrap` is sent as text before anything else is there. torch is imported in `tasks`, `training`, `rank` and two
files of `verbs`.
"""
