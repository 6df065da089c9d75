"""A run of 200 steps for trackers to write: with a loss that is no number, a gap, and a regroup; and what they should
have of it.

A step 41 to 48 is not known of anybody, the loss of step 30 is no number, and from step 121 on one rank trains alone.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from motley.trainer.contract.wire import Event, Sample, encode
from tests.console.report.experiments import event, group, step, summary, write

STEPS = 200
GAP = range(41, 49)
NAN = 30
REGROUP = 121
HELD_OUT = 100
METRICS = ("train/loss", "train/samples_per_s", "train/step_ms")


def events() -> list[Event]:
    return [
        group(at=0.5),
        event("report", "mlp/digits: 200 steps", 0.6, step=0, steps_total=STEPS, shares=[32, 32]),
        event("evaluated", "epoch 1", 11.05, step=HELD_OUT, epoch=1, accuracy=0.75, loss=0.5, seconds=0.1),
        event("lost", "laptop is lost: no sign of life", 13.0, level="warning", member=1, host="laptop", step=120),
        group(generation=1, members=(0,), at=13.02, step=120),
        event("regrouped", "goes on with 1 rank", 13.03, generation=1, pause_s=0.5),
    ]


def samples() -> list[Sample]:
    found: list[Sample] = []
    for number in range(1, STEPS + 1):
        if number in GAP:
            continue
        alone = number >= REGROUP
        found += step(
            number,
            (64,) if alone else (32, 32),
            ms=100.0 + number,
            at=1.0 + number / 10,
            generation=int(alone),
            loss=None if number == NAN else 2.5 / number,
            members=(0,) if alone else (0, 1),
        )
    return found


def expected() -> dict[str, dict[int, float]]:
    """By metric and step."""
    steps = [number for number in range(1, STEPS + 1) if number not in GAP]
    return {
        "train/loss": {number: math.nan if number == NAN else 2.5 / number for number in steps},
        "train/samples_per_s": {number: 64 / (100.0 + number) * 1000 for number in steps},
        "train/step_ms": {number: 100.0 + number for number in steps},
    }


def folder_of_run(place: Path) -> Path:
    return write(place / "experiments/night", events(), samples(), told=summary(steps=STEPS))


class Growing:
    """The same folder while the run goes on: `grow(n)` brings its records up to step n, as a console commits them."""

    def __init__(self, place: Path) -> None:
        self.folder = write(place / "experiments/night", told=None)
        records: list[Event | Sample] = [*events(), *samples()]
        self._records = sorted(records, key=lambda record: record.time)
        self._files: dict[str, bytes] = {}

    def grow(self, newest: int) -> None:
        while self._records and (not isinstance(one := self._records[0], Sample) or one.step <= newest):
            record = self._records.pop(0)
            name = f"logs/rank_{record.member}_metrics.jsonl" if isinstance(record, Sample) else "events.jsonl"
            self._files[name] = self._files.get(name, b"") + encode(record)
        for name, content in self._files.items():
            (self.folder / name).write_bytes(content + b'{"v":1,"type":"sam')  # the next line is on its way
        sizes = {name: len(content) for name, content in self._files.items()}
        (self.folder / "offsets.json").write_text(json.dumps({"sizes": sizes, "offsets": {}}))

    def end(self, state: str = "finished") -> None:
        (self.folder / "summary.json").write_text(json.dumps(summary(steps=STEPS, state=state)))
