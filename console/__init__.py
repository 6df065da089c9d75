"""The terminal application and the `motley` command. Its process never imports torch."""
