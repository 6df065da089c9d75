"""What a command answers on stdout: one JSON object for programs, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def print_data(data: dict[str, Any]) -> None:
    """One object on stdout, and nothing else. A reader that has gone changes nothing."""
    try:
        print(json.dumps(data, indent=2, ensure_ascii=False), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own last flush
