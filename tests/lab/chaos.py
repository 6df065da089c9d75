"""Things that happen to home clusters, many times over: `make chaos`, as root. Writes tests/lab/CHAOS.md.

Runs go on in the lab while seeded faults (`tests.lab.faults`) strike, singly and two at a time. After each the training
must go on with everybody back. At the end of each run its parameters must be those of an undisturbed one to 1e-6
(float64, GroupNorm, same samples), no completed step may be lost, and no process may be left.

    python tests/lab/chaos.py --faults 200 --seed 1
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.lab.faults import KINDS, Fault, begin, draw_some, heal
from tests.lab.lab import Lab
from tests.lab.night import Night

HOSTS = {"box1": 0.5, "box2": 0.5, "box3": 0.5, "box4": 0.5}
DISK_MIB = 300
STEPS, LAST = 1500, 250  # of a run; how many of them are left alone at its end
RUN = {
    "task": "simple_cnn/digits", "steps": STEPS, "global_batch": 64, "norm": "group", "dtype": "float64",
    "eval_every": 10, "checkpoint_every": 5, "learning_rate": 0.02,
}  # fmt: skip
BACK_S = 100.0  # until training goes on, and until everybody is back
CALM_STEPS = 6  # between two faults
TOLERANCE = 1e-6
RESULTS = Path(__file__).with_name("CHAOS.md")


@dataclass(slots=True)
class Struck:
    """A fault (or two), and what came of it. Times in seconds."""

    faults: tuple[Fault, ...]
    step: int
    leader: str
    on_s: float = 0.0  # from its beginning until five more steps were done
    back_s: float = 0.0  # from its end until all hosts were in the group
    pauses: list[float] = field(default_factory=list)

    @property
    def hit_leader(self) -> bool:
        return any(f.host == self.leader and KINDS[f.kind].loses and f.kind != "rank killed" for f in self.faults)


def strike(night: Night, faults: tuple[Fault, ...]) -> Struck:
    """Let them happen, end them, and see the training go on with everybody."""
    struck = Struck(faults=faults, step=night.step(), leader=night.leader())
    hosts = frozenset(night.lab.hosts)
    before = len(night.events("regrouped"))
    began = time.monotonic()
    for fault in faults:
        begin(night, fault)
    for fault in sorted(faults, key=lambda f: f.seconds):
        left = fault.seconds - (time.monotonic() - began)
        if left > 0:
            time.sleep(left)  # it lasts so long
        heal(night, fault)
    healed = time.monotonic()
    name = " and ".join(map(str, faults))
    at = night.step()
    night.until(lambda: night.step() >= at + 2, f"training after {name}", BACK_S)
    struck.on_s = time.monotonic() - began
    night.until(lambda: night.group()[1] == hosts, f"all hosts back after {name}", BACK_S)
    struck.back_s = time.monotonic() - healed
    at = night.step()
    night.until(lambda: night.step() >= at + CALM_STEPS, f"training with everybody after {name}", BACK_S)
    struck.pauses = [e["data"]["pause_s"] for e in night.events("regrouped")[before:]]
    return struck


def parameters(folder: Path) -> dict[str, Any]:
    state = torch.load(folder / "checkpoints" / "final.pt", weights_only=True)
    assert state["step"] == STEPS
    found: dict[str, Any] = state["model"]
    return found


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest relative difference of any tensor."""
    return max(float((one[k] - other[k]).norm() / other[k].norm().clamp_min(1e-300)) for k in other)


def undisturbed(lab: Lab, folder: Path) -> dict[str, Any]:
    with Night(lab, folder, "undisturbed", run=RUN) as night:
        night.end()
        return parameters(night.folder)


def one_night(
    lab: Lab, folder: Path, name: str, generator: random.Random, most: int, longest_s: float
) -> tuple[list[Struck], dict[str, Any], dict[str, Any]]:
    """A run with up to `most` faults: what happened, its summary, its parameters."""
    struck: list[Struck] = []
    with Night(lab, folder, name, run=RUN) as night:
        night.until(lambda: night.step() >= CALM_STEPS, "the first steps")
        while sum(len(s.faults) for s in struck) < most and night.step() < STEPS - LAST:
            faults = draw_some(generator, list(lab.hosts), leader=night.leader(), longest_s=longest_s)
            struck.append(strike(night, faults))
            s = struck[-1]
            print(
                f"{name} step {s.step:4d}  {' and '.join(map(str, faults)):60s} on after {s.on_s:5.1f} s, "
                f"all back after {s.back_s:5.1f} s, pauses {' '.join(f'{p:.1f}' for p in s.pauses)}",
                flush=True,
            )
        summary = night.end()
        assert night.left() == {}, night.left()
        return struck, summary, parameters(night.folder)


def table(nights: Sequence[list[Struck]], differences: Sequence[float], lost: int, seed: int) -> str:
    """CHAOS.md."""
    struck = [s for night in nights for s in night]
    by_kind: dict[str, list[Struck]] = defaultdict(list)
    for s in struck:
        for fault in s.faults:
            by_kind[fault.kind].append(s)
    lines = [
        "# Chaos",
        "",
        "Made by `make chaos`: seeded faults strike runs in the lab, singly and two at a time; each run ends with the",
        "parameters of an undisturbed one.",
        "",
        f"Machine: {os.cpu_count()} cores, Linux {platform.release()}, torch {torch.__version__}, seed {seed}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}.",
        "",
        "| fault | times | alone: pause median | alone: longest pause | training went on |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        those = by_kind[kind]
        alone = [p for s in those if len(s.faults) == 1 and not s.hit_leader for p in s.pauses[:1]]
        pauses = f"{median(alone):.1f} s | {max(alone):.1f} s" if alone else "none | none"
        lines.append(f"| {kind} | {len(those)} | {pauses} | {len(those)} |")
    lost_hosts = [s.pauses[0] for s in struck if s.pauses and not s.hit_leader]
    leaders = [s.pauses[0] for s in struck if s.pauses and s.hit_leader]

    def spread(pauses: list[float]) -> str:
        return f"{median(pauses):.1f} s, {max(pauses):.1f} s of {len(pauses)}" if pauses else "none"

    lines += [
        "",
        "| in all | |",
        "|---|---|",
        f"| faults, in how many blows, in how many runs | {sum(len(s.faults) for s in struck)}, {len(struck)}, "
        f"{len(nights)} |",
        f"| first pause while the leader lives: median, longest | {spread(lost_hosts)} |",
        f"| first pause when the leader's host went: median, longest | {spread(leaders)} |",
        f"| completed steps lost while the leader lives | {lost} |",
        f"| largest relative difference of parameters from the undisturbed run | {max(differences):.1e} |",
        "| processes left | 0 |",
    ]
    return "\n".join(lines) + "\n"


def steps_lost(summary: dict[str, Any]) -> int:
    return sum(r["step_before"] - r["step_after"] for r in summary["regroups"] if r["step_after"] is not None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=24, help="faults of one run at most")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of the longest fault")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    generator = random.Random(given.seed)
    nights: list[list[Struck]] = []
    differences, lost = [], 0
    with Lab(HOSTS, disk_mib=DISK_MIB) as lab, tempfile.TemporaryDirectory(prefix="chaos-") as place:
        reference = undisturbed(lab, Path(place))
        while (done := sum(len(s.faults) for night in nights for s in night)) < given.faults:
            name = f"night-{len(nights) + 1}"
            most = min(given.each, given.faults - done)
            struck, summary, found = one_night(lab, Path(place), name, generator, most, given.longest)
            nights.append(struck)
            differences.append(furthest(found, reference))
            lost += steps_lost(summary)
            print(f"{name}: difference {differences[-1]:.1e}", flush=True)
            assert differences[-1] <= TOLERANCE, f"{name}: {differences[-1]}"
            lab.heal()
        given.out.write_text(table(nights, differences, lost, given.seed))
    print(given.out.read_text())


if __name__ == "__main__":
    main()
