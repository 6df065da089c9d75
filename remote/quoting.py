"""Commands for the user to paste, quoted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def pasteable(argv: Sequence[str]) -> str:
    """A command for the user to paste: quoted where it must be, `~/` left for their shell."""
    return " ".join("~/" + shlex.quote(w[2:]) if w.startswith("~/") and len(w) > 2 else shlex.quote(w) for w in argv)
