"""Commands of ours for the user to paste: quoted, and for the cluster.toml that this console was given.

>>> paste = own_commands(Path("home/cluster.toml"))
>>> paste("stop", "night")
'motley stop night -c home/cluster.toml'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from motley.remote.quoting import pasteable

Paste = Callable[..., str]  # words, one argument each


def plainly(*words: str) -> str:
    """For ./cluster.toml, which is taken where none is named."""
    return pasteable(["motley", *words])


def own_commands(config: Path) -> Paste:
    """As `remote.ssh.shell.motley`, for who has no cluster yet, or no more."""
    return plainly if config == Path("cluster.toml") else lambda *words: plainly(*words, "-c", str(config))
