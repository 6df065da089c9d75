"""The terminal application and the `motley` command. Its process never imports torch.

Rooms: `commands` (one file a command), `tui` (the application; the only one that imports textual), `control` (between
the user and a run), `view` (a snapshot becomes lines; pure), `state` (records go in, a frozen snapshot comes out). A
room imports those after it in this order, never those before it.
"""
