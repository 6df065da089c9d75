"""A host becomes slower in mid-run: `python tests/bench/bench_slowdown.py`, as root.

Four real hosts of 0.8, 0.4, 0.2 and 0.2 cores; the CPU quota of the fastest is cut while a run goes on. Counted are the
steps until the new split holds, and until the speed is that at which it settles.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.lab_runs import Bench, MotleyRun
from tests.bench.results import record
from tests.lab.lab import Lab

TASK, BATCH = "simple_cnn/fashion_mnist", 256
SLOW_AT, SLOWER, SLOW_TURNS = 60, 2.5, 4


def adaptation_steps(run: MotleyRun, slowed: int) -> int | None:
    """Steps after the slowdown until the speed is within 5 % of what it settles at: the median of ten steps is."""
    settled = median(run.step_ms[-40:])
    for step in range(slowed, len(run.step_ms) - 10):
        if median(run.step_ms[step : step + 10]) <= settled / 0.95:
            return step - slowed
    return None


def slowdown(bench: Bench) -> tuple[MotleyRun, int]:
    """A run in which box1 becomes slower by `SLOWER`, and the step at which it did."""
    process = bench.start(steps=SLOW_AT + 90, policy="dynamic")
    while process.steps() < SLOW_AT:
        time.sleep(0.02)
    slowed = process.steps()
    box1 = bench.lab["box1"]
    assert box1.cores is not None
    box1.set_quota(box1.cores / SLOWER)
    run = process.wait()
    bench.lab.heal()
    return run, slowed


def main() -> None:
    rows: list[tuple[str, str]] = []
    with Lab() as lab:
        bench = Bench(lab, task=TASK, global_batch=BATCH)
        slowed = [slowdown(bench) for _ in range(SLOW_TURNS)]
        steps = [adaptation_steps(run, at) for run, at in slowed]
        moves = [
            (e["data"]["step"] - at, e["text"]) for run, at in slowed for e in run.decisions if e["data"]["step"] > at
        ]
        firsts = [next(e["data"]["step"] - at for e in run.decisions if e["data"]["step"] > at) for run, at in slowed]
        what = f"box1 becomes {SLOWER} times slower: steps until"
        rows.append((f"{what} the new split holds, {SLOW_TURNS} runs", ", ".join(map(str, firsts))))
        rows.append((f"{what} 95 % of the speed it settles at", ", ".join(map(str, steps))))
        rows.append(("the first decision after that", moves[0][1]))
        realised = [e["data"] for run, _ in slowed for e in run.events if e["kind"] == "realised"]
        errors = [abs(r["realised_ms"] / r["predicted_ms"] - 1) for r in realised]
        rows.append(("prediction error of decisions, median", f"{median(errors):.1%} of {len(errors)}"))
    text = f"Four hosts of 0.8, 0.4, 0.2 and 0.2 cores, `{TASK}`, global batch {BATCH}; box1 becomes slower in mid-run."
    print(record("Slowdown", text, rows))


if __name__ == "__main__":
    main()
