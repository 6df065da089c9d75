"""What `--resume` names: a run, a checkpoint of a run, or a checkpoint's file on this machine. Standard library only.

    >>> ResumeFrom.of("night@best")
    ResumeFrom(run='night', checkpoint='best', file=None)
    >>> ResumeFrom.of("backup/epoch_5.pt").file
    PosixPath('backup/epoch_5.pt')

Names are those of the files, without `.pt`: best, final, stop, held, epoch_5. `step_1200` is any one of that step.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from motley.remote.config.value_rules import name_problem
from motley.remote.errors import UsageError
from motley.remote.sanitize import clean
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer

NAMES = "best, final, stop, held, epoch_5 or step_1200"
_STEP = re.compile(r"step_0*(\d{1,12})")


@dataclass(frozen=True, slots=True)
class ResumeFrom:
    """`run` is empty for a file, `checkpoint` for the newest one of the run."""

    run: str
    checkpoint: str = ""
    file: Path | None = None

    @classmethod
    def of(cls, text: str) -> ResumeFrom:
        """A path has a `/` in it, or ends with `.pt`. Raises UsageError for what is none of the three."""
        run, at, name = text.partition("@")
        if "/" in text or (not at and text.endswith(".pt")):
            return cls("", file=Path(os.path.expanduser(text)))
        if problem := name_problem(run):
            raise UsageError(clean(f"the name of a run, '{run}', {problem}"))
        name = name.removesuffix(".pt")
        if at and not checkpoint_trailer.is_name(name):
            raise UsageError(clean(f'--resume {text}: "{name}" is no checkpoint; after the @ comes {NAMES}'))
        return cls(run, name)

    @property
    def step(self) -> int | None:
        """The step that the checkpoint's name asks for; None where it does not."""
        match = _STEP.fullmatch(self.checkpoint)
        return int(match[1]) if match else None

    def fits(self, name: str, trailer: Trailer) -> bool:
        """Whether a checkpoint `name` (a file's, with its `.pt`) is one that is asked for."""
        if self.step is not None:
            return trailer.step == self.step
        return not self.checkpoint or name == f"{self.checkpoint}.pt"


def trailer_of(file: Path) -> Trailer:
    """What a checkpoint's file here says of itself. Raises UsageError where it can't be one."""
    try:
        if file.is_dir():
            raise UsageError(f"--resume {file}: is a folder; name a file in it, such as {file / 'final.pt'}")
        with file.open("rb") as content:
            said = checkpoint_trailer.read(content)
    except OSError as error:
        raise UsageError(f"--resume {file}: can't be read ({error.strerror or error})") from error
    if said is None:
        raise UsageError(f"--resume {file}: is cut short, or no checkpoint that Motley has written")
    return said
