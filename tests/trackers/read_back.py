"""What each tracker holds of a run, by its own reader: every figure by metric and step, marks, and how it ended."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Figures = dict[str, list[tuple[int, float]]]


@dataclass(slots=True)
class Held:
    figures: Figures = field(default_factory=dict)  # by metric: (step, value), as often as it is there
    marks: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    state: str = ""

    def by_step(self, metric: str) -> dict[int, float]:
        """Raises AssertionError where a step is there twice."""
        pairs = sorted(self.figures[metric], key=lambda pair: pair[0])
        found = dict(pairs)
        assert len(found) == len(pairs), f"{metric}: {[step for step, _ in pairs]}"
        return found


def same(found: Mapping[int, float], expected: Mapping[int, float], *, single: bool = False) -> bool:
    """Equal, where not-a-number is equal to itself; `single`: as a float of four bytes holds it."""
    if found.keys() != expected.keys():
        return False
    wanted = {step: struct.unpack("f", struct.pack("f", v))[0] if single else v for step, v in expected.items()}
    return all(found[s] == v or (math.isnan(found[s]) and math.isnan(v)) for s, v in wanted.items())


def tensorboard(folder: Path) -> Held:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    held = Held({tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]})
    for tag in reader.Tags()["tensors"]:
        for one in reader.Tensors(tag):
            text = b"".join(one.tensor_proto.string_val).decode()
            if tag.startswith("events/"):
                held.marks.append(text)
            elif tag.startswith("settings"):
                held.settings = dict(tuple(line.strip().split(" = ", 1)) for line in text.splitlines())  # type: ignore[misc]
            elif tag.startswith("summary"):
                held.state = text.strip().splitlines()[0].partition("= ")[2].strip()
    return held


READERS = {"tensorboard": tensorboard}
