"""The nodes: pods find one, and their containers run as processes of this machine; their logs, and commands in them."""
