"""`experiments/<run>/`: what the hosts wrote, kept beside cluster.toml. `launch` and `session` may enter."""
