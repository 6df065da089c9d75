"""What a host is given: our code, the project, data, packages, images; and programs run there by text.

The only room that imports pathspec. `rpc`, `preflight` and what comes after them may enter.
"""
