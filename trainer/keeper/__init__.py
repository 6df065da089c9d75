"""Programs that keep a node of a Slurm job for a run: sent as text, with nothing of ours on the node yet.

They import the standard library alone. `remote.placement` puts `keep_node` into the script of the job, and
`remote.hosts.slurm_connection` starts `ask_keeper` for each command.
"""
