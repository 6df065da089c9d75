"""What a tracker's process leaves in `experiments/<run>/track/<tracker>.json`, for the next one and for whoever asks.

>>> kept = KeptProgress.read(folder, "mlflow")
>>> kept.state, kept.last["train/loss"]
('writing', 118)
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from motley.remote.experiment.local_disk import replace_file
from motley.remote.sanitize import clean, clean_table

MOST_BYTES = 4 << 20
State = Literal["writing", "left", "ended", "failed"]


@dataclass(slots=True, kw_only=True)
class KeptProgress:
    """`state`: "left" where the run goes on and nobody writes, "ended" with the run. `last`: the newest step of each
    metric that was written; `marks`: how many were."""

    state: State = "writing"
    pid: int = 0
    where: str = ""
    cause: str = ""  # why it has failed
    identity: dict[str, str] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    marks: int = 0

    @classmethod
    def read(cls, folder: Path, tracker: str) -> KeptProgress:
        """An empty one where there is none, or one that can't be read."""
        try:
            with place(folder, tracker).open("rb") as file:
                table = clean_table(json.loads(file.read(MOST_BYTES)))
            kept = cls(
                cause=clean(str(table.get("cause", ""))),
                where=clean(str(table.get("where", ""))),
                identity={str(name): str(value) for name, value in dict(table["identity"]).items()},
                last={str(name): int(step) for name, step in dict(table["last"]).items()},
                marks=int(table["marks"]),
                pid=int(table.get("pid", 0)),
            )
            kept.state = table["state"] if table["state"] in ("writing", "left", "ended", "failed") else "left"
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls(state="left")
        return kept

    def save(self, folder: Path, tracker: str) -> None:
        """Raises OSError."""
        replace_file(place(folder, tracker), json.dumps(asdict(self)).encode())


def place(folder: Path, tracker: str) -> Path:
    return folder / "track" / f"{tracker}.json"


def make_room(folder: Path) -> None:
    """Raises OSError where it can't be made."""
    with contextlib.suppress(FileExistsError):
        (folder / "track").mkdir(mode=0o700)
