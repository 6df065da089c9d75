"""A short real run of all hosts, kept beside their profiles: what steps together take that none takes alone.

>>> Rehearsal(...).write(store.folder)
>>> Rehearsal.read(store.folder, "simple_cnn/digits")
Rehearsal(task='simple_cnn/digits', …)
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motley.profiles.predict import Candidate, Together, learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One run: the devices in rank order, their shares, and the medians of its steps."""

    task: str
    members: tuple[tuple[str, str], ...]  # (host, device)
    shares: tuple[int, ...]
    gradient_bytes: int
    step_ms: float
    sending_ms: float  # of the rank that came last: from its last local gradient to the end of the all-reduce
    time: float  # seconds since 1970

    def write(self, folder: Path) -> Path:
        """In the place of an older one of the task, whole or not at all. Raises OSError."""
        path = _path(folder, self.task)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
        os.replace(temporary, path)
        return path

    @classmethod
    def read(cls, folder: Path, task: str) -> Rehearsal | None:
        """None when there is none that can be read: a plan does without."""
        try:
            table = json.loads(_path(folder, task).read_bytes())
            members = tuple((str(host), str(device)) for host, device in table.pop("members"))
            found = cls(members=members, shares=tuple(map(int, table.pop("shares"))), **table)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        usable = len(found.shares) == len(members) > 1 and found.step_ms > found.sending_ms >= 0
        return found if usable and found.task == task else None

    def together(self, candidates: Sequence[Candidate]) -> Together:
        """What it teaches about these devices; nothing, when one that took part is not among them."""
        by_name = {(c.host, c.device): c for c in candidates}
        if any(name not in by_name for name in self.members):
            return Together()
        ours = [by_name[name] for name in self.members]
        return learned(ours, self.shares, self.gradient_bytes, self.step_ms, self.sending_ms)


def _path(folder: Path, task: str) -> Path:
    return folder / f"together--{re.sub(r'[^A-Za-z0-9._-]', '-', task)[:100]}.rehearsal"
