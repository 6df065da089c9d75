"""How the hosts of a cluster come to be: fixed ones are there, nodes of a job are asked for, found and given back."""
