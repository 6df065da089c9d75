"""What belongs to trained weights that others are given: the names of an exported folder's files, and what the
evaluation found at their step, out of the events of a run, on a host or beside cluster.toml.

>>> is_plain("adapter_model.safetensors"), is_plain("../bashrc")
(True, False)
>>> evaluation_of(Path("experiments/night"), 180)
{'accuracy': 0.9731, 'loss': 0.0912}
"""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = "folder"  # the format of an export that is one
MARK = "motley.json"  # {"files": [names], …}: the metadata; by it a folder is known as one that may be written over
FIGURES = ("accuracy", "loss")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


def is_plain(name: object) -> bool:
    """Whether it is the name of a file of the folder itself."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not name.endswith(".part")


def evaluation_of(folder: Path, step: int) -> dict[str, float]:
    """`accuracy` (0 to 1) and `loss`, the newest of that step in `events.jsonl` there; of these what is known."""
    found: dict[str, float] = {}
    try:
        with (folder / "events.jsonl").open("rb") as lines:
            for line in lines:
                if b'"evaluated"' in line:
                    found = _figures(line, step) or found
    except OSError:  # none yet, or not to be read: the weights are worth having all the same
        return found
    return found


def _figures(line: bytes, step: int) -> dict[str, float]:
    try:
        event = json.loads(line)
        data = event["data"] if event["kind"] == "evaluated" else {}
        known = {name: data.get(name) for name in FIGURES} if data.get("step") == step else {}
    except (AttributeError, KeyError, TypeError, ValueError):  # cut short, or another program's
        return {}
    return {name: value for name, value in known.items() if isinstance(value, (int, float))}
