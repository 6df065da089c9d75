"""Two checkouts that take turns: how long a start takes here, as a part of how long it takes in another one.

    python tests/bench/bench_startup.py --against ../before --turns 20
    python tests/bench/bench_first_step.py --against ../before

Both have a .venv of their own (`make venv`). Who begins a turn changes with every turn, so that both meet the same
disturbances of the machine, and what is compared are the ratios of the turns. `opened_files` then counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import comb
from pathlib import Path
from statistics import median

from tests.bench.opened_files import opened_files

HERE = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("turn_worker.py")
ENDS_S = 60


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """What holds the true median in at least 95 % of cases, and how many: low, high, and that probability.

    From the order of the values alone: it asks nothing of how they scatter. With fewer than six, none holds it that
    often; then it is lowest, highest, and their probability.

    >>> interval([0.9, 1.0, 1.1, 1.2, 1.3, 1.4])
    (0.9, 1.4, 0.96875)
    """
    ordered, n = sorted(values), len(values)
    cut = [1 - 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n for k in range((n + 1) // 2)]
    k = max([k for k, probability in enumerate(cut) if probability >= 0.95], default=0)
    return ordered[k], ordered[n - 1 - k], cut[k]


class Worker:
    """`turn_worker` in a checkout, with its code on the hosts."""

    def __init__(self, checkout: Path, bench: str) -> None:
        argv = [str(checkout / ".venv/bin/python"), str(WORKER), bench]
        self._process = subprocess.Popen(
            argv, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with status {self._process.wait()}")
        told: dict[str, float] = json.loads(line)
        return told

    def turn(self) -> dict[str, float]:
        """Seconds, by name."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """By the end of its stdin, so that it clears away what it has started."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _worker(checkout: Path, bench: str) -> Iterator[Worker]:
    worker = Worker(checkout, bench)
    try:
        worker.answer()
        yield worker
    finally:
        worker.end()


def compare(before: Path, bench: str, turns: int) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Seconds there and here, by name, of each turn. Raises SystemExit when a checkout can't measure."""
    pairs = []
    with _worker(before, bench) as there, _worker(HERE, bench) as here:
        for number in range(turns):
            order = (there, here) if number % 2 == 0 else (here, there)
            told = {worker: worker.turn() for worker in order}
            pairs.append((told[there], told[here]))
            print(f"turn {number + 1}: before {_said(told[there])}; after {_said(told[here])}", flush=True)
    return pairs


def table(pairs: Sequence[tuple[dict[str, float], dict[str, float]]]) -> list[str]:
    """Lines: each time's medians, and after / before with its interval."""
    lines = ["| what | before | after | after / before, median of the turns |", "|---|---|---|---|"]
    for name in sorted(set(pairs[0][0]) & set(pairs[0][1])):
        before, after = [b[name] for b, _ in pairs], [a[name] for _, a in pairs]
        ratios = [a / b for a, b in zip(after, before, strict=True) if b > 0]
        if not ratios:
            continue
        low, high, probability = interval(ratios)
        ratio = f"{median(ratios):.3f} ({low:.3f} to {high:.3f}: {probability:.0%} interval, {len(ratios)} turns)"
        lines.append(f"| {name} | {median(before):.3f} s | {median(after):.3f} s | {ratio} |")
    return lines


def asked(bench: str) -> bool:
    """Whether the command line asks for a comparison, which is then made and printed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout, with a .venv: before")
    parser.add_argument("--turns", type=int, default=20)
    given = parser.parse_args()
    if given.against is None:
        return False
    before = given.against.resolve()
    print("\n".join(table(compare(before, bench, given.turns))), end="\n\n", flush=True)
    opened = [opened_files(checkout) for checkout in (before, HERE)]
    print("| files opened, each once | before | after |\n|---|---|---|")
    for role in opened[0]:
        print(f"| {role} | {opened[0][role]} | {opened[1][role]} |")
    return True


def _said(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
