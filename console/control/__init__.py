"""Between the user and a run: the session it talks to, its life, cluster.toml while it goes on, questions.

`tui` and `commands` may enter. It knows no textual, so that `--plain` lives on it, too.
"""
