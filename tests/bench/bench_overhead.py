"""What measuring and balancing cost a step: `python tests/bench/bench_overhead.py` prints the parts and their sum.

Two ranks in a gloo group on this machine train `simple_cnn/digits` as a run does. Then everything that a step has
besides its training is done on its own, many times over: stopwatch, the note to undo a step by, memory and utilisation,
the line of metrics, the row for the others, and every fifth time the exchange and rank 0's decision. So the ratio does
not drown in the noise of the steps. It ends with exit code 1 when the sum is 1 % of a 100 ms step or more.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch.distributed as dist

from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import BalanceOptions, Member, RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.training.job import Job
from motley.trainer.training.loop import Times, record, train_step
from motley.trainer.training.step_undo import StepUndo
from motley.trainer.training.window_exchange import Window
from tests.bench import results
from tests.trainer.ranks import make_job, run_ranks

TIMES, BATCH, STEP_MS, MOST = 2000, 128, 100.0, 0.01


def parts_of(job: Job) -> dict[str, Callable[[], object]]:
    """What a step does besides training, by name."""
    place = job.batches.place(0)
    undo = StepUndo(job.task_model, job.device)
    members = [Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(2)]
    journal = Journal(Path(tempfile.mkdtemp()), host="box", source="rank 0")
    balancer = Balancer(BalanceOptions(), members, (BATCH // 2, BATCH // 2), journal)

    def stopwatch() -> None:
        job.watch.start()
        job.watch.last_gradient()
        job.watch.all_reduced()
        job.watch.read()

    def metrics() -> None:
        record(job, place, BATCH // 2, 100.0, Times(busy_ms=61.0, compute_ms=60.0, wait_ms=5.0, data_ms=1.0, threads=1))

    def exchange() -> None:
        window = Window()
        for _ in range(balancer.window):
            window.note(MeasuredStep(batch=BATCH // 2, loss_sum=100.0, busy_ms=60.0, step_ms=100.0))
        window.gather()
        rows = window.gathered()
        shares = balancer.decide(10, rows, job.shares) if job.rank == 0 else job.shares
        window.answer(shares, leave=False)
        window.answered()

    return {"stopwatch": stopwatch, "undo": undo.note, "metrics": metrics, "exchange": exchange}


def measured(rank: int, world_size: int, _given: dict[str, Any]) -> dict[str, float]:
    """Milliseconds a step of each part, and of a whole step."""
    options = RunOptions(task="simple_cnn/digits", global_batch=BATCH, steps=60)
    job = make_job(rank, world_size, options, (BATCH // 2, BATCH // 2), double=False)
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
    found = {"step": median(row.step_ms for row in job.window.rows[10:])}
    for name, part in parts_of(job).items():
        dist.barrier()
        began = time.perf_counter()
        for _ in range(TIMES):
            part()
        found[name] = (time.perf_counter() - began) / TIMES * 1000
    found["exchange"] /= BalanceOptions().window
    return found


def main() -> int:
    found = run_ranks(2, measured, {})[0]
    step_ms = found.pop("step")
    total = sum(found.values())
    rows = [(f"{name}, a step", f"{ms * 1000:.0f} µs") for name, ms in found.items()]
    rows.append(("in all", f"{total * 1000:.0f} µs: {total / STEP_MS:.2%} of a step of {STEP_MS:.0f} ms"))
    rows.append(("of a step of this task here", f"{total / step_ms:.2%} of {step_ms:.1f} ms"))
    print(results.record("Overhead", "What measuring, recording and balancing add to a step of two ranks.", rows))
    return int(total >= MOST * STEP_MS)


if __name__ == "__main__":
    sys.exit(main())
