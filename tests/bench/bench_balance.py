"""Balancing on four real hosts of 0.8, 0.4, 0.2 and 0.2 cores: `python tests/bench/bench_balance.py`, as root.

Prints a table and writes it to tests/bench/RESULTS.md. Ratios are of runs that took
turns by the second, on the same hosts (`tests/bench/contest.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.contest import contest, interval, ratios
from tests.bench.lab_runs import Bench, MotleyRun
from tests.bench.results import record
from tests.lab.lab import Lab

TASK, BATCH = "simple_cnn/fashion_mnist", 256
STEPS, ENDLESS, ROUNDS = 60, 100_000, 12
POLICIES, LOSS, LOSS_STEPS, LOSS_TURNS = ("static", "dynamic"), 0.9, 100, 3


def neighbours(split: Sequence[int]) -> list[list[int]]:
    """Splits around one: what a search by hand would try next."""
    found = {tuple(split)}
    for giver in range(len(split)):
        for taker in range(len(split)):
            for moved in (4, 8):
                if giver != taker and split[giver] > moved:
                    moved_split = list(split)
                    moved_split[giver] -= moved
                    moved_split[taker] += moved
                    found.add(tuple(moved_split))
    return [list(s) for s in sorted(found)]


def best_fixed(bench: Bench, start: Sequence[int]) -> list[int]:
    """The fastest fixed split, by the minimal script: all neighbours take turns, then the best ones again."""
    wide = bench.minimal([*neighbours(start)], rounds=2, block=4)
    short = sorted(wide, key=lambda s: -wide[s])[:4]
    again = sorted({*short, tuple(start)})
    narrow = bench.minimal([list(split) for split in again], rounds=8, block=5)
    return list(max(narrow.items(), key=lambda item: item[1])[0])


def seconds_to_loss(run: MotleyRun, target: float) -> float:
    """Time of all steps until the mean loss of ten in a row is down to `target`."""
    for step in range(10, len(run.losses) + 1):
        if mean(run.losses[step - 10 : step]) <= target:
            return sum(run.step_ms[:step]) / 1000
    raise LookupError(f"the loss did not come down to {target}: {mean(run.losses[-10:]):.2f} at the end")


def main() -> None:
    rows: list[tuple[str, str]] = []
    with Lab() as lab:
        bench = Bench(lab, task=TASK, global_batch=BATCH)
        first = bench.motley(steps=STEPS, policy="dynamic")
        settled = list(first.batches[-1])
        split = best_fixed(bench, settled)
        rows.append(("fixed split A: the fastest of the script, by search", "/".join(map(str, split))))
        rows.append(("fixed split B: what a dynamic run settled at", "/".join(map(str, settled))))

        equal = [BATCH // 4] * 4
        found = contest(
            {
                "dynamic": lambda: bench.start(steps=ENDLESS, policy="dynamic"),
                "fixed A": lambda: bench.start(steps=ENDLESS, policy="static", shares=split),
                "fixed B": lambda: bench.start(steps=ENDLESS, policy="static", shares=settled),
                "script A": lambda: bench.start_minimal([split], rounds=ENDLESS),
                "equal": lambda: bench.start(steps=ENDLESS, policy="static"),
                "equal script": lambda: bench.start_minimal([equal], rounds=ENDLESS),
            },
            batch=BATCH,
            rounds=ROUNDS,
        )
        best = max(("fixed A", "fixed B"), key=lambda name: mean(found[name]))
        for what, left, right in (
            (f"dynamic / best fixed split ({best[-1]})", "dynamic", best),
            ("dynamic / equal split", "dynamic", "equal"),
            ("dynamic / minimal DDP script under torchrun, equal split", "dynamic", "equal script"),
            ("our loop / minimal DDP script, the same fixed split", "fixed A", "script A"),
        ):
            rows.append((what, interval(ratios(found[left], found[right]))))
        rows += [(f"{name}, samples/s, median", f"{median(rates):,.0f}") for name, rates in found.items()]

        alone = {
            name: bench.motley(steps=24, hosts=[name], batch=max(16, share)).samples_per_s
            for name, share in zip(lab.hosts, split)
        }
        together = median(found["dynamic"])
        rows.append(("dynamic / sum of the hosts alone", f"{together / sum(alone.values()):.3f}"))
        rows.append(("dynamic / fastest host alone", f"{together / max(alone.values()):.3f}"))

        races = [[bench.motley(steps=LOSS_STEPS, policy=policy) for policy in POLICIES] for _ in range(LOSS_TURNS)]
        seconds = [[seconds_to_loss(run, LOSS) for run in race] for race in races]
        what = f"seconds of training to a loss of {LOSS}, {LOSS_TURNS} turns"
        rows += [
            (f"{what}: {policy}", ", ".join(f"{t:.1f}" for t in found))
            for policy, found in zip(POLICIES, zip(*seconds))
        ]
        rows.append((f"{what}: equal split / dynamic", ", ".join(f"{a / b:.2f}" for a, b in seconds)))
    text = f"Four hosts of 0.8, 0.4, 0.2 and 0.2 cores, `{TASK}`, global batch {BATCH}. ± is a 95 % interval."
    print(record("Balance", f"{text} Ratios of runs that took turns by the second.", rows))


if __name__ == "__main__":
    main()
