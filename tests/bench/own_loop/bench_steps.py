"""What `run.steps` costs a step on one process, against the bare loop: `python tests/bench/own_loop/bench_steps.py`.

The small transformer of `train.py` beside this file, AdamW and a schedule, in blocks of steps that take turns: the bare
loop, the same lines with the session, and a fixed piece of Python, which says how fast the machine is just now. Of each
step the CPU time is counted that is not in the model, the backward pass, the optimizer or the schedule: what is
compared does not drown in the noise of these, and meets the caches that they leave. It ends with exit code 1 when the
session costs more than 1 % of a step of 50 ms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch
from torch.nn import functional

import motley
from tests.bench import results
from tests.bench.against import interval
from tests.bench.own_loop.train import Adder, numbers

BATCH, BLOCK, BLOCKS, WARM = 16, 10, 20, 2
STEP_MS, MOST = 50.0, 0.01


class Training:
    """A model and what trains it; `inside_s` is the CPU time that they have taken, in seconds."""

    def __init__(self, steps: int) -> None:
        self.inside_s = 0.0
        self.model = Adder()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def counted(self, call: Callable[..., Any], *words: Any) -> Any:
        began = time.process_time()
        try:
            return call(*words)
        finally:
            self.inside_s += time.process_time() - began

    def loss(self, digits: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self.model(digits), sums, reduction="sum")


def of_the_session(one: Training, steps: int) -> Iterator[None]:
    """Each `next` is one step."""
    run = motley.session()
    run.prepare(one.model, one.optimizer, one.schedule)
    for step in run.steps(numbers(20_000, seed=1), global_batch=BATCH, steps=steps):
        with step:
            digits, sums = step.batch
            loss = one.counted(one.loss, digits, sums)
            step.backward(loss)
            one.counted(one.optimizer.step)
        if step.done:
            one.counted(one.schedule.step)
        yield


def bare(one: Training, steps: int) -> Iterator[None]:
    """The same without it: samples in a random order, the sum over them, weighted."""
    digits, sums = numbers(20_000, seed=1)
    order = torch.randperm(len(digits))
    for step in range(steps):
        ids = order[step * BATCH % len(digits) :][:BATCH]
        loss = one.counted(one.loss, digits[ids], sums[ids])
        one.optimizer.zero_grad()
        torch.autograd.backward(loss / len(ids))
        one.counted(one.optimizer.step)
        one.counted(one.schedule.step)
        yield


def fixed_work(one: Training, steps: int) -> Iterator[None]:
    del one
    for _ in range(steps):
        table = {}
        for number in range(2000):
            table[str(number)] = number * number
        yield


def main() -> int:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = (BLOCKS + WARM) * BLOCK + 1
    ways: dict[str, Callable[[Training, int], Iterator[None]]] = {
        "bare": bare, "session": of_the_session, "python": fixed_work,
    }  # fmt: skip
    trainings = {name: Training(steps) for name in ways}
    going = {name: way(trainings[name], steps) for name, way in ways.items()}
    us: dict[str, list[float]] = {name: [] for name in ways}
    backward = torch.autograd.backward
    for block in range(BLOCKS + WARM):
        for name in list(ways)[:: 1 if block % 2 else -1]:
            one, found = trainings[name], []
            torch.autograd.backward = partial(one.counted, backward)
            for _ in range(BLOCK):
                began, inside_s = time.process_time(), one.inside_s
                next(going[name])
                found.append(time.process_time() - began - (one.inside_s - inside_s))
            if block >= WARM:
                us[name].append(median(found) * 1e6)
    torch.autograd.backward = backward
    costs = [with_it - without for with_it, without in zip(us["session"], us["bare"], strict=True)]
    low, high, probability = interval(costs)
    share = median(costs) / 1000 / STEP_MS
    rows = [
        ("with `run.steps`, a step", f"{median(us['session']):.0f} µs"),
        ("the bare loop, a step", f"{median(us['bare']):.0f} µs"),
        ("what `run.steps` adds", f"{median(costs):.0f} µs ({low:.0f} to {high:.0f}: {probability:.0%} interval)"),
        (f"of a step of {STEP_MS:.0f} ms", f"{share:.2%}"),
        ("a fixed piece of Python work, beside it", f"{median(us['python']):.0f} µs"),
    ]
    text = (
        "One process, a small transformer with AdamW and a schedule: CPU time of a step that is not in the model, the "
        f"backward pass, the optimizer or the schedule; medians of {BLOCKS} blocks of {BLOCK} steps that take turns."
    )
    print(results.record("Own loop, one process", text, rows))
    return int(share > MOST)


if __name__ == "__main__":
    sys.exit(main())
