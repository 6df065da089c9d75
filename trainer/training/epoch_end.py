"""The end of an epoch: evaluation over all ranks, and the checkpoints that are due. Called by the loop between steps.

>>> end_epoch(job, epochs_done=3, last=False)

It ends on all ranks together, after rank 0 has written: one that has got through it knows that all have the combined
statistics of BatchNorm. When it breaks, `trainer.rank.kept_state` puts them back as they were, and it is done again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from motley.trainer.tasks import count
from motley.trainer.training import batchnorm
from motley.trainer.training.sampler import rank_slice

if TYPE_CHECKING:
    from motley.trainer.training.job import Job

EVAL_BATCH = 256
COMBINES, EVALUATED, ENDS = 1, 2, 3  # where ranks wait for each other: a rank that is stuck between two is noticed


def end_epoch(job: Job, epochs_done: int, *, last: bool) -> None:
    """Evaluate and write a checkpoint where they are due; neither counts as time of a step."""
    began = time.perf_counter()
    options = job.options
    due_eval = last or (options.eval_every and epochs_done % options.eval_every == 0)
    due_checkpoint = options.checkpoint_every and epochs_done % options.checkpoint_every == 0
    if due_eval or due_checkpoint:
        job.passes.undo.note()
        job.ending_epoch = True
        job.progress.arrive(COMBINES)
        batchnorm.combine(job.model.module, job.shares[job.rank] / sum(job.shares))
    if due_eval:
        accuracy, loss = evaluate(job)
        if job.rank == 0:
            job.recorder.evaluated(job, epochs_done, accuracy, loss, time.perf_counter() - began)
            if accuracy > job.best and options.checkpoint_every:
                job.recorder.checkpoint(job, "best")
        job.best = max(job.best, accuracy)
    if job.rank == 0:
        if due_checkpoint:
            job.recorder.checkpoint(job, f"epoch_{epochs_done}")
        if last:
            job.recorder.checkpoint(job, "final")
    if job.ending_epoch:
        job.progress.arrive(ENDS)
        dist.all_reduce(torch.zeros(1))
    job.epoch_ends, job.ending_epoch = epochs_done, False
    job.step_end += time.perf_counter() - began


@torch.no_grad()
def evaluate(job: Job) -> tuple[float, float]:
    """(accuracy 0 to 1, mean loss) over the test data, of which each rank takes a part the size of its share."""
    job.model.eval()
    part = rank_slice(job.shares, job.rank, job.task.test_size)
    sums = torch.zeros(3, dtype=torch.float64)
    batch = min(EVAL_BATCH, job.passes.limit or EVAL_BATCH)
    for start in range(part.start, part.stop, batch):
        inputs, targets = job.task.test_batch(start, min(start + batch, part.stop))
        sums[2] += count(job.task, targets)
        targets = targets.to(job.device)
        outputs = job.model.module(inputs.to(job.device))
        sums[0] += float(job.task.correct(outputs, targets))
        sums[1] += float(job.task.loss_sum(outputs, targets))
        job.progress.works()
    job.progress.arrive(EVALUATED)
    dist.all_reduce(sums)
    correct, loss, counted = sums.tolist()
    return correct / counted, loss / counted
