"""Things that happen to home clusters, many times over: `make chaos`, as root. Writes tests/lab/CHAOS.md.

Runs go on in the lab while seeded faults (`tests.lab.faults`) strike, singly and two at a time. After each the training
must go on with everybody back. At the end of each run its parameters must be those of an undisturbed one to 1e-6
(float64, same samples), no completed step may be lost, and no process may be left.

Three runs of four train a model with GroupNorm, which is the same with any split. The fourth has BatchNorm and dropout,
whose statistics and random numbers belong to a rank: it waits while a host is away (`min_hosts`), and is only struck by
what leaves its ranks alive, so it must end as if nothing had happened, too.

    python tests/lab/chaos.py --faults 200 --seed 1

A run that does not go on is told with all that its hosts have said, and counted; the others are made all the same.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.lab.chaos_table import Outcome, Struck, results
from tests.lab.faults import Fault, Limits, begin, draw_some, heal
from tests.lab.lab import Lab
from tests.lab.night import Night

HOSTS = {"box1": 0.5, "box2": 0.5, "box3": 0.5, "box4": 0.5}
DISK_MIB = 300
LAST = 250  # steps at the end of a run that are left alone
GONE_S = 150.0  # a host that came back after the end may have held its state meanwhile
BACK_S = 100.0  # until training goes on, and until everybody is back
CALM_STEPS = 6  # between two faults
TOLERANCE = 1e-6
RESULTS = Path(__file__).with_name("CHAOS.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What runs train. `sparing`: only what leaves the ranks' own state alone may happen to them."""

    name: str
    run: Mapping[str, Any]
    steps: int = 1500
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sparing: bool = False

    def start(self, lab: Lab, folder: Path, name: str) -> Night:
        common = {
            "task": "simple_cnn/digits", "steps": self.steps, "global_batch": 64, "dtype": "float64",
            "eval_every": 10, "checkpoint_every": 5, "learning_rate": 0.02,
        }  # fmt: skip
        return Night(lab, folder, name, run={**common, **self.run}, **self.sections)

    def learned(self, night: Night) -> dict[str, Any]:
        """Parameters and buffers in the run's last checkpoint."""
        state = torch.load(night.folder / "checkpoints" / "final.pt", weights_only=True)
        assert state["step"] == self.steps
        found: dict[str, Any] = state["model"]
        return found

    def undisturbed(self, lab: Lab, folder: Path) -> dict[str, Any]:
        with self.start(lab, folder, f"undisturbed-{self.run['norm']}") as night:
            night.end()
            return self.learned(night)


GROUP = Training(name="GroupNorm", run={"norm": "group"})
BATCH = Training(
    name="BatchNorm and dropout",
    run={"norm": "batch", "dropout": 0.3},
    sections={"balance": {"policy": "static"}, "elastic": {"min_hosts": len(HOSTS)}},
    sparing=True,
)
TURNS = (GROUP, GROUP, BATCH, GROUP)


def strike(night: Night, faults: tuple[Fault, ...], shown: Callable[[Night], bool] = lambda _: True) -> Struck:
    """Let them happen, end them, and see the training go on with everybody; or to the run's end, where that is near.

    They last until `shown` holds, too: what must be seen while they do.
    """
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
        night.until(lambda: shown(night), f"what is to be seen while {fault}", BACK_S)
        heal(night, fault)
    healed = time.monotonic()
    name = " and ".join(map(str, faults))
    at = night.step()
    night.until(lambda: night.over or night.step() >= at + 2, f"training after {name}", BACK_S)
    struck.on_s = time.monotonic() - began
    night.until(lambda: night.over or night.group()[1] == hosts, f"all hosts back after {name}", BACK_S)
    struck.back_s = None if night.over else time.monotonic() - healed
    at = night.step()
    night.until(lambda: night.over or night.step() >= at + CALM_STEPS, f"training with everybody after {name}", BACK_S)
    struck.pauses = [e["data"]["pause_s"] for e in night.events("regrouped")[before:]]
    return struck


def furthest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest relative difference of any tensor."""
    pairs = [(one[k].double(), other[k].double()) for k in other]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-300)) for a, b in pairs)


def steps_lost(summary: Mapping[str, Any]) -> int:
    return sum(r["step_before"] - r["step_after"] for r in summary["regroups"] if r["step_after"] is not None)


def one_night(
    training: Training, lab: Lab, folder: Path, name: str, generator: random.Random, most: int, longest_s: float
) -> Outcome:
    """A run with up to `most` faults, and what became of it; `learned` is for the caller to compare."""
    outcome = Outcome(training=training.name, holds=training.sparing)
    limits = Limits(longest_s=longest_s, sparing=training.sparing)
    faults: tuple[Fault, ...] = ()
    try:
        with training.start(lab, folder, name) as night:
            night.until(lambda: night.step() >= CALM_STEPS, "the first steps")
            while outcome.faults < most and not night.over and night.step() < training.steps - LAST:
                faults = draw_some(generator, list(lab.hosts), leader=night.leader(), limits=limits)
                outcome.struck.append(strike(night, faults))
                print(f"{name} {outcome.struck[-1]}", flush=True)
            faults = ()
            summary = night.end()
            outcome.lost = steps_lost(summary)
            assert summary["state"] == "finished", summary["state"]
            night.until(lambda: night.left() == {}, "no process left", GONE_S)
            outcome.learned = training.learned(night)
    except AssertionError as error:
        outcome.failed = f"{' and '.join(map(str, faults)) or 'its end'}: {str(error).splitlines()[0]}"
        print(f"{name} failed: {error}", flush=True)
    return outcome


def make_room(lab: Lab, name: str) -> None:
    """Removes what the run has left on the hosts: their disks are small, and there may be many runs."""
    for host in lab.hosts:
        for folder in (lab[host].home / ".motley" / "runs").glob(f"{name}*"):
            shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=24, help="faults of one run at most")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of the longest fault")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    generator = random.Random(given.seed)
    outcomes: list[Outcome] = []
    with Lab(HOSTS, disk_mib=DISK_MIB) as lab, tempfile.TemporaryDirectory(prefix="chaos-") as place:
        references = {training.name: training.undisturbed(lab, Path(place)) for training in (GROUP, BATCH)}
        while (done := sum(outcome.faults for outcome in outcomes)) < given.faults:
            training = TURNS[len(outcomes) % len(TURNS)]
            most = min(given.each, given.faults - done)
            name = f"night-{len(outcomes) + 1}"
            outcome = one_night(training, lab, Path(place), name, generator, most, given.longest)
            if outcome.learned is not None:
                outcome.difference = furthest(outcome.learned, references[training.name])
                if outcome.difference > TOLERANCE:
                    outcome.failed = f"its end: parameters differ by {outcome.difference:.1e}"
            outcomes.append(outcome)
            print(f"{name}: {training.name}, {outcome}", flush=True)
            given.out.write_text(results(outcomes, given.seed))
            lab.heal()
            if not outcome.failed:
                make_room(lab, name)
    print(given.out.read_text())
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
