"""How long the exact split takes: `python tests/bench/bench_split.py` prints one line a case, best of several.

The balancer asks for a split every few steps, so even for the largest group it must take a small part of a step.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.profiles.split_solver import proportional_split, scaled, split
from tests.bench.results import record

RANKS, TOTAL, TIMES = 10_000, 1_000_000, 9


def best_ms(work: Callable[[], object], times: int = TIMES) -> float:
    """The shortest of several runs: what the code takes when the machine does nothing else."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return 1e3 * min(durations)


def main() -> None:
    rng = random.Random(1)
    costs = [(rng.uniform(0, 20), rng.uniform(0.05, 2.0)) for _ in range(RANKS)]
    wide = [(rng.uniform(0, 500), 10 ** rng.uniform(-3, 2)) for _ in range(RANKS)]
    caps = [rng.choice([None, 64, 128, 256, 4096]) for _ in range(RANKS)]
    speeds = [1 / c for _, c in costs]
    shares = split(costs, TOTAL)
    cases: list[tuple[str, Callable[[], object]]] = [
        ("split", lambda: split(costs, TOTAL)),
        ("split, caps and minimums", lambda: split(costs, TOTAL, caps=caps, minimums=[1] * RANKS)),
        ("split, ranks all alike", lambda: split([(1.0, 0.5)] * RANKS, TOTAL)),
        ("split, speeds over five decades", lambda: split(wide, TOTAL, caps=caps)),
        ("proportional_split, with caps", lambda: proportional_split(speeds, TOTAL, caps)),
        ("scaled", lambda: scaled(shares, TOTAL // 3)),
    ]
    rows = [(name, f"{best_ms(work):.1f} ms") for name, work in cases]
    print(record("Split", f"{RANKS:,} ranks, a global batch of {TOTAL:,}; the best of {TIMES}.", rows))


if __name__ == "__main__":
    main()
