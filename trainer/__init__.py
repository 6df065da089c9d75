"""Everything that runs on a host. Pushed whole, together with `profiles`; see `trainer.__main__` for its verbs."""
