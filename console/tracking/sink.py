"""What a tracker is to the rest: five tools, one small interface.

A sink is opened by the process of its tracker alone, and may take its time there: what it has not been given yet waits
in the experiment's files.

    sink = open_sink(info)                   # `open_sink` of a file in `console.tracking.sinks`
    written = sink.last_steps()              # by metric: what an earlier process has left there
    sink.write([Point(step=1, time=…, values={"train/loss": 2.3})], [])
    sink.finish("finished", {"steps": 1})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Union

from motley.trainer.contract.wire import Level

Value = Union[str, int, float, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Figures of one step. A loss that is no number is not-a-number here, too."""

    step: int
    time: float  # seconds since 1970
    values: Mapping[str, float]  # by metric: "train/loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened: a regroup, a warning."""

    step: int
    time: float
    title: str
    text: str
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a sink is opened with. `settings`: `run.epochs` and the like. `identity`: what the sink of an earlier
    process of this run has left in its own, to go on with the same run of the tool."""

    run: str
    project: str
    folder: Path  # the experiment's
    settings: Mapping[str, Value] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    mode: str = ""  # of wandb: "online" or "offline"


class Sink(Protocol):
    @property
    def where(self) -> str:
        """Where it can be looked at: a command to paste."""

    @property
    def identity(self) -> dict[str, str]:
        """What a later process needs to go on with the same run."""

    def last_steps(self) -> Mapping[str, int] | None:
        """The newest step of each metric that is there already; None where the tool does not tell."""

    def marks(self) -> int | None:
        """How many marks are there already, which come in the same order each time; None where it does not tell."""

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        """In order. What is written is there for the tool's own reader, or soon will be, when it returns."""

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        """Close it. `state`: how the run has ended, empty while it goes on. `figures`: of its summary."""


class SinkError(Exception):
    """A tracker can't be written to, and trying again won't help: what, and how to mend it."""
