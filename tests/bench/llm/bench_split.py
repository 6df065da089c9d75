"""Rows of 32 to 2,048 tokens on real hosts of 0.8, 0.4 and 0.2 cores: `python tests/bench/llm/bench_split.py`, as root.

The task is `rows.py` beside this file. What a row costs is `c L + L²`, with the c that this machine's own times give.
Each host alone, all of them with shares of work, and all with shares of rows take turns by the second. A step counts
for the work of its rows, so runs are compared that have other rows in their turns. The hosts are one machine: what
they make at the same time, each for itself, says how much of a loss is the machine's. Takes about seven minutes.
"""

from __future__ import annotations

import functools
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch

from motley.trainer.training.sampler import BatchSampler
from tests.bench.contest import contest, interval, ratios
from tests.bench.lab_runs import Bench
from tests.bench.llm.rows import Rows
from tests.bench.results import record
from tests.lab.lab import Lab

TASK = Path(__file__).with_name("rows.py")
HOSTS = {"box1": 0.8, "box2": 0.4, "box3": 0.2}
ALONE = {"box1": 32, "box2": 16, "box3": 8}  # rows of a step, so that each host's takes about as long
BATCH, ENDLESS, ROUNDS = sum(ALONE.values()), 100_000, 5
PASSES = 64  # at most, and as many as rows of the longest: short rows share a pass
LENGTHS, TIMES = (128, 256, 512, 1024, 1536, 2048), 12
CS = (1, *range(50, 5001, 50))  # that are tried for c
AT_ONCE = "each host for itself, at the same time"  # what the machine that all share gives, without a group
WANTED = 0.93  # of the sum of the hosts alone


def measured_c() -> tuple[int, float]:
    """c of `c L + L²` as one thread of this machine has it, and by how much the worst length is off then."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    task = Rows(Rows.Options())
    model = task.model()
    rounds = [[_pass_ms(task, model, length) for length in LENGTHS] for _ in range(TIMES)]
    torch.set_num_threads(before)
    took = torch.tensor([min(of_length) for of_length in zip(*rounds, strict=True)], dtype=torch.float64)
    off, c = min((_off(took, c), c) for c in CS)
    return c, off


def _off(took: torch.Tensor, c: int) -> float:
    """The largest relative error of the best `a + b (c L + L²)`, where errors count in proportion."""
    length = torch.tensor(LENGTHS, dtype=torch.float64)
    columns = torch.stack([torch.ones_like(length), length * (length + c)], dim=1) / took[:, None]
    fitted = columns @ torch.linalg.lstsq(columns, torch.ones_like(took)).solution
    return float((fitted - 1).abs().max())


def _pass_ms(task: Rows, model: torch.nn.Module, length: int) -> float:
    """CPU time of the forward and backward pass of one row."""
    batch = task.collate([task.row(0, length)])
    began = time.process_time()
    torch.autograd.backward(task.loss(task.forward(model, batch), batch).sum())
    return (time.process_time() - began) * 1000


class RowsBench(Bench):
    """Runs of the task beside this file."""

    c = 1

    def run_keys(self, *, steps: int, batch: int, compress: str) -> dict[str, Any]:
        project = self.folder / "project"
        project.mkdir(exist_ok=True)
        shutil.copy(TASK, project)
        keys = super().run_keys(steps=steps, batch=batch, compress=compress)
        return {**keys, "task": f"project/{TASK.name}", "accumulate": PASSES, "threads": 1}

    def config(
        self, *, steps: int = 1, hosts: Sequence[str] = (), batch: int = 0, compress: str = "none", **balance: Any
    ) -> Path:
        by_work = balance.pop("by_work", True)
        path = super().config(steps=steps, hosts=hosts, batch=batch, compress=compress, **balance)
        with path.open("a") as file:
            file.write(f"\n[task]\nc = {self.c}\nby_work = {str(by_work).lower()}\n")
        return path


def work_of_step(c: int, name: str, step: int) -> float:
    """Of a contestant's step, in rows of mean cost."""
    batches = sampler(c, ALONE.get(name, BATCH))
    return batches.work_of(batches.ids(step, (1,), 0))


@functools.cache
def sampler(c: int, batch: int) -> BatchSampler:
    """Of a run of so many rows a step, as each of its ranks has it."""
    task = Rows(Rows.Options(c=c))
    work = task.work()
    assert work is not None
    return BatchSampler(count=len(work), global_batch=batch, seed=0, work=work)


def main() -> int:
    c, off = measured_c()
    with Lab(HOSTS) as lab:
        bench = RowsBench(lab, task="", global_batch=BATCH)
        bench.c = c
        starts = {
            "by work": functools.partial(bench.start, steps=ENDLESS, policy="dynamic"),
            "by rows": functools.partial(bench.start, steps=ENDLESS, policy="dynamic", by_work=False),
            **{
                host: functools.partial(bench.start, steps=ENDLESS, hosts=[host], batch=rows)
                for host, rows in ALONE.items()
            },
        }
        done = functools.partial(work_of_step, c)
        found = contest(starts, batch=BATCH, rounds=ROUNDS, done=done, at_once={AT_ONCE: list(HOSTS)})
    together = [sum(of_hosts) for of_hosts in zip(*(found[host] for host in HOSTS), strict=True)]
    of_sum = ratios(found["by work"], together)
    rows = [
        ("shares of work / sum of the hosts alone", interval(of_sum)),
        ("shares of rows / sum of the hosts alone", interval(ratios(found["by rows"], together))),
        ("the hosts each for itself at the same time / sum of them alone", interval(ratios(found[AT_ONCE], together))),
        (
            "shares of work / the hosts each for itself at the same time",
            interval(ratios(found["by work"], found[AT_ONCE])),
        ),
        ("shares of work / shares of rows", interval(ratios(found["by work"], found["by rows"]))),
        *((f"{name}, rows of mean cost/s, median", f"{median(rates):.1f}") for name, rates in found.items()),
        ("c of a row's cost c L + L², and how far its worst length is off", f"{c:,}, {off:.0%}"),
    ]
    text = (
        f"Three hosts of {', '.join(map(str, HOSTS.values()))} cores, rows of 32 to 2,048 tokens, {BATCH} a step, a "
        "decoder of one block. ± is a 95 % interval. Ratios of runs that took turns by the second."
    )
    print(record("Split by work", text, rows))
    return int(mean(of_sum) < WANTED)


if __name__ == "__main__":
    sys.exit(main())
