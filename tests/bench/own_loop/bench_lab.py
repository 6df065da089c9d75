"""A loop of the user's own on hosts of 0.8, 0.4, 0.2 and 0.2 cores: `python tests/bench/own_loop/bench_lab.py`.

As root. The loop is `train.py` beside this file, unchanged under Motley and under torchrun. Ratios are of runs that
took turns by the second (`tests/bench/contest.py`); the fixed splits are the best one of a search by hand-written DDP
(`splits.py`) and what the balanced run settled at. Then processes are killed and hosts crash in mid-run.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench import results
from tests.bench.bench_balance import best_fixed
from tests.bench.contest import contest, interval, ratios
from tests.bench.lab_runs import SCRIPT, Bench, TorchrunProcess
from tests.lab.lab import Lab
from tests.lab.night import Night

LOOP, SPLITS = (Path(__file__).with_name(name) for name in ("train.py", "splits.py"))
BATCH, SETTLED, ENDLESS, ROUNDS = 256, 120, 100_000, 12
KILLED, CRASHED = ("box2", "box3", "box4", "box2"), ("box2", "box3", "box4")
CALM_STEPS, GOES_ON_S = 40, 120.0
BEST, TORCHRUN = 0.95, 1.7  # at least this many times these


class LoopBench(Bench):
    """Runs of the loop, in place of those of a task."""

    def run_keys(self, *, steps: int, batch: int, compress: str) -> dict[str, Any]:
        del compress
        project = self.folder / "loop"
        project.mkdir(exist_ok=True)
        shutil.copy(LOOP, project)
        return {"script": f"loop/{LOOP.name}", "args": [str(steps), str(batch)], "join_timeout_s": 120}

    @staticmethod
    def is_rank_0(words: Sequence[str], environ: Mapping[str, str]) -> bool:
        return any(Path(word).name == LOOP.name for word in words) and environ.get("RANK") == "0"

    def start_minimal(self, splits: Sequence[Sequence[int]], *, rounds: int, block: int = 5) -> TorchrunProcess:
        words = ["--task", "the loop", "--splits", str([*map(list, splits)]), "--rounds", str(rounds)]
        return self.start_torchrun([SPLITS, SCRIPT, LOOP], [*words, "--block", str(block)])

    def start_loop(self) -> TorchrunProcess:
        """The loop under torchrun, whose shares are equal."""
        return self.start_torchrun([LOOP], [str(ENDLESS), str(self.global_batch)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A process or a host that went; `pause_s`: from the end of the last step before to that of the first one after."""

    host: str
    pause_s: float
    steps_lost: int


class Loop:
    """A run of the loop that hosts are lost from, as box1's rank writes of it, which leads."""

    def __init__(self, night: Night) -> None:
        self._night = night

    def trains(self, what: str) -> None:
        """Wait for more steps."""
        at = self._night.step()
        self._night.until(lambda: self._night.step() >= at + CALM_STEPS, f"steps {what}", GOES_ON_S)

    def lose(self, host: str, *, crash: bool) -> Loss:
        """Until it is back and trains again."""
        night, number, before = self._night, self._night.step(), self._night.group()[0]
        everybody = frozenset(night.lab.hosts)
        if crash:
            night.lab[host].crash()
        else:
            pid = night.pid(host, LOOP.name)
            assert pid is not None, f"no process of the loop on {host}"
            os.kill(pid, signal.SIGKILL)
        night.until(lambda: night.group()[0] > before, f"a group without {host}", GOES_ON_S)
        if crash:
            self.trains(f"without {host}")
            night.lab.bring_back(host)
        night.until(lambda: night.group()[0] > before + 1 and night.group()[1] == everybody, f"{host} back", GOES_ON_S)
        self.trains(f"with {host}")
        back = next(e["time"] for e in night.events("group") if e["data"]["generation"] > before + 1)
        rows = night.samples("box1", 0)
        ends = [row["time"] for row in rows if row["step"] >= number and row["time"] <= back]
        pause_s = max(after - before for before, after in itertools.pairwise(ends))
        numbers = [row["step"] for row in rows]
        done = len(set(numbers))
        return Loss(host=host, pause_s=pause_s, steps_lost=(len(numbers) - done) + (numbers[-1] - done))


def lose(lab: Lab, hosts: Sequence[str], *, crash: bool) -> list[Loss]:
    """One after the other in one run; each comes back before the next one goes."""
    found: list[Loss] = []
    with tempfile.TemporaryDirectory(prefix="losses-") as place:
        shutil.copy(LOOP, place)
        run = {"script": LOOP.name, "args": [str(ENDLESS), str(BATCH)], "join_timeout_s": 120}
        with Night(lab, Path(place), "crash" if crash else "kill", run=run) as night:
            night.until(lambda: night.step() >= SETTLED, "the first steps", GOES_ON_S)
            for host in hosts:
                found.append(Loop(night).lose(host, crash=crash))
                print(found[-1], flush=True)
            night.motley("stop", night.name)
    return found


def told(losses: Sequence[Loss]) -> str:
    pauses = [loss.pause_s for loss in losses]
    each = ", ".join(f"{loss.host} {loss.pause_s:.1f}" for loss in losses)
    return f"{median(pauses):.1f} s, {max(pauses):.1f} s ({each})"


def main() -> int:
    rows: list[tuple[str, str]] = []
    with Lab() as lab:
        bench = LoopBench(lab, task="", global_batch=BATCH)
        settled = list(bench.motley(steps=SETTLED, policy="dynamic").batches[-1])
        split = best_fixed(bench, settled)
        rows.append(("fixed split A: the fastest of DDP by hand, by search", "/".join(map(str, split))))
        rows.append(("fixed split B: what a balanced run settled at", "/".join(map(str, settled))))
        found = contest(
            {
                "dynamic": lambda: bench.start(steps=ENDLESS, policy="dynamic"),
                "fixed A": lambda: bench.start(steps=ENDLESS, policy="static", shares=split),
                "fixed B": lambda: bench.start(steps=ENDLESS, policy="static", shares=settled),
                "torchrun": bench.start_loop,
            },
            batch=BATCH,
            rounds=ROUNDS,
        )
        best = max(("fixed A", "fixed B"), key=lambda name: mean(found[name]))
        of_best, of_torchrun = (ratios(found["dynamic"], found[name]) for name in (best, "torchrun"))
        rows.append((f"dynamic / best fixed split ({best[-1]})", interval(of_best)))
        rows.append(("dynamic / the same script under torchrun", interval(of_torchrun)))
        rows += [(f"{name}, samples/s, median", f"{median(rates):,.0f}") for name, rates in found.items()]
        killed, crashed = (lose(lab, hosts, crash=crash) for hosts, crash in ((KILLED, False), (CRASHED, True)))
        rows.append(("a process killed: pause, median and longest", told(killed)))
        rows.append(("a host crashed: pause, median and longest", told(crashed)))
        rows.append(("completed steps lost", str(sum(loss.steps_lost for loss in (*killed, *crashed)))))
    text = (
        "Four hosts of 0.8, 0.4, 0.2 and 0.2 cores, a small transformer in a loop of the user's own, global batch "
        f"{BATCH}. ± is a 95 % interval. Ratios of runs that took turns by the second."
    )
    print(results.record("Own loop, in the lab", text, rows))
    return int(mean(of_best) < BEST or mean(of_torchrun) < TORCHRUN)


if __name__ == "__main__":
    sys.exit(main())
