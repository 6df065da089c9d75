"""Why a run failed, from the summary that is kept of it.

>>> recorded_cause(Path("experiments/night"))
'box2: the ranks ran out of memory'
"""

from __future__ import annotations

import json
from pathlib import Path

from motley.remote.sanitize import clean


def recorded_cause(folder: Path) -> str:
    """Of the run's failure; empty when it did not fail, or its summary can't be read."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError):
        return ""
    if not isinstance(summary, dict) or summary.get("state") != "failed":
        return ""
    return " ".join(clean(str(summary.get("cause") or "")).split())
