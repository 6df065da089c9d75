"""What `python -m motley.trainer calibrate`, and `trial`, are asked, as the master sends it on their standard input.

Standard library only.

>>> Calibration.from_json(calibration.to_json()) == calibration
True
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import (
    PROTOCOL,
    Container,
    DataOptions,
    RunOptions,
    container_of,
    own_task_of,
    run_options_of,
    table_of,
)
from motley.trainer.contract.task_name import OwnTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """To measure one device with the task of a run, or to try it there."""

    options: RunOptions
    data: DataOptions
    device: str
    batch: int  # samples of a whole step: the most that are worth measuring
    share: int | None = None  # of it for this device when all have the same: what numbers of threads are tried with
    devices: int = 1  # ranks on the host, which share its cores
    max_batch: int | None = None
    env: dict[str, str] = field(default_factory=dict)  # as the ranks get it; may hold secrets
    emulated: bool = False
    speed: float | None = None  # of an emulated host
    speeds: float = 1.0  # of all emulated ranks on this machine together
    budget_s: float = 8.0  # of measured steps
    container: Container | None = None
    own_task: OwnTask | None = None  # what options.task names, where that is a class with parameters
    steps: int = 0  # of a trial: so many are done with `share` samples; 0: the task is made, nothing more
    script: Script | None = None  # of a trial, in place of the task
    run_s: float = 20.0  # how long a script is let run
    folder: str = ""  # on the host, of a trial's own: what a script writes goes there
    child: bool = False  # asked by the trainer itself

    def for_child(self) -> Calibration:
        return dataclasses.replace(self, child=True)

    @property
    def project_tree(self) -> str:
        """The hash of the user's own files that it needs; empty where it needs none."""
        user_code = self.script or self.own_task
        return user_code.tree if user_code is not None else ""

    def to_json(self) -> str:
        return json.dumps({"protocol": PROTOCOL, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Raises ValueError, KeyError or TypeError when the text is not such a request of this protocol."""
        table = table_of(text, "request")
        table["options"], table["data"] = run_options_of(table["options"]), DataOptions(**table["data"])
        table["own_task"] = own_task_of(table)
        table["container"] = container_of(table)
        table["script"] = Script.from_table(table["script"]) if table.get("script") else None
        return cls(**table)
