"""The end of an epoch: evaluation over all ranks, what the model answers to rank 0, and the checkpoints that are due.
Called by the loop between steps.

>>> end_epoch(job, epochs_done=3, last=False)

The end of no epoch is that before the first step: with `run.eval_on_start` the model is evaluated as it came. That is
nothing to beat, and no checkpoint.

It ends on all ranks together, after rank 0 has written: one that has got through it knows that all have the combined
statistics of BatchNorm. When it breaks, `trainer.rank.kept_state` puts them back as they were, and it is done again.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from motley.trainer.errors import told
from motley.trainer.optimize import early_stop
from motley.trainer.tasks.evaluation import Evaluation, answers_of, figures_of
from motley.trainer.tasks.task import answers
from motley.trainer.tasks.task_loss import evaluated, weight
from motley.trainer.tasks.task_module import TaskModule
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training import batchnorm
from motley.trainer.training.sampler import rank_slice

if TYPE_CHECKING:
    from motley.trainer.data.batch import Batch
    from motley.trainer.host.rank_progress import Progress
    from motley.trainer.training.job import Job

EVAL_BATCH = 256
SIGN_S, ANSWERING_S = 1.0, 200.0  # of life, while the task has its model answer; for so long at most
COMBINES, EVALUATED, ENDS = 1, 2, 3  # where ranks wait for each other: a rank that is stuck between two is noticed


def end_epoch(job: Job, epochs_done: int, *, last: bool) -> None:
    """Evaluate and write a checkpoint where they are due; neither counts as time of a step."""
    began = time.perf_counter()
    options = job.options
    due_eval = last or (options.eval_every and epochs_done % options.eval_every == 0)
    due_checkpoint = options.checkpoint_every and epochs_done % options.checkpoint_every == 0
    if not epochs_done:
        due_eval, due_checkpoint = options.eval_on_start, False
    if not job.data.test_size:
        due_eval = False
    if due_eval or due_checkpoint:
        job.passes.undo.note()
        job.ending_epoch = True
        job.progress.arrive(COMBINES)
        batchnorm.combine(job.task_model, job.shares[job.rank] / sum(job.shares))
    best, to_beat = job.best, torch.zeros(1)  # whether the score of this evaluation is the one to beat from now on
    if due_eval:
        found = evaluate(job)
        if job.rank == 0:
            found = replace(found, follows=follows(job, found.loss))
            job.recorder.evaluated(job, epochs_done, found, time.perf_counter() - began)
            ask(job, epochs_done)
        if epochs_done and found.score > job.best and math.isfinite(found.loss):
            best, job.best_epoch = found.score, epochs_done
            to_beat[0] = job.rank == 0 and is_kept(job, best)
    early = not last and early_stop.is_over(options, epochs_done, job.best_epoch)
    if job.rank == 0:
        if due_checkpoint:
            job.recorder.checkpoint(job, f"epoch_{epochs_done}")
        if last or early:
            job.recorder.checkpoint(job, "final")
        if early:
            job.recorder.stopped_early(job, epochs_done)
    if job.ending_epoch:
        job.progress.arrive(ENDS)
        dist.all_reduce(to_beat)
    if to_beat:
        job.best = best
    job.epoch_ends, job.ending_epoch = epochs_done, False
    job.step_end += time.perf_counter() - began


def is_kept(job: Job, score: float) -> bool:
    """On rank 0: write `best.pt` where checkpoints are written. A score that became none is not to be beaten."""
    before, job.best = job.best, score
    kept = not job.options.checkpoint_every or job.recorder.checkpoint(job, "best")
    job.best = score if kept else before
    return kept


@torch.no_grad()
def evaluate(job: Job) -> Evaluation:
    """Over the test data, of which each rank takes a part the size of its share. There must be some."""
    job.model.eval()
    module = job.model.module if job.ema is None else TaskModule(job.task, job.ema.refreshed()).eval()
    part = rank_slice(job.shares, job.rank, job.data.test_size)
    batch = job.passes.most_samples(EVAL_BATCH, job.data.longest)
    loss, counted, sums = 0.0, 0, dict[str, float]()
    for start in range(part.start, part.stop, batch):
        some = job.data.test_batch(start, min(start + batch, part.stop), end=part.stop).to(job.device)
        loss_sum, metrics = figures(job, module, some)
        counted += weight(job.task, some.content, some.size)
        loss += float(loss_sum)
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        job.progress.works()
    if part.start == part.stop:  # the names of its metrics it needs all the same: of a borrowed sample
        one = job.data.test_batch(0, 1).to(job.device)
        sums = dict.fromkeys(figures(job, module, one)[1], 0.0)
    names = sorted(sums)
    job.progress.arrive(EVALUATED)
    total = torch.tensor([loss, counted, *(sums[name] for name in names)], dtype=torch.float64)
    dist.all_reduce(total)
    loss, count, *found = total.tolist()
    return Evaluation(loss=loss / count, metrics={name: value / count for name, value in zip(names, found)})


def figures(job: Job, module: nn.Module, some: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the metrics of some samples, summed."""
    with job.precision.autocast(job.device):
        return evaluated(job.task, module, some.content, some.size)


def follows(job: Job, loss: float) -> dict[str, float]:
    """What the task says follows from the loss; nothing where it can't say."""
    try:
        with user_code(job.task.project):
            return figures_of(job.task.figures(loss))
    except Exception as error:  # noqa: BLE001 - of the user's, and nothing that is learned depends on it
        job.recorder.note_once(job, f"what follows from the loss is not known: {told(error)[0]}")
        return {}


@torch.no_grad()
def ask(job: Job, epochs_done: int) -> None:
    """On rank 0: what the model says to the task's prompts. The others wait for it where the epoch's end is over.

    Random numbers and the modules' modes are as before. What goes wrong is told once.
    """
    if not answers(job.task):
        return
    began = time.perf_counter()
    model = job.task_model if job.ema is None else job.ema.refreshed()
    modes = [(module, module.training) for module in model.modules()]
    gpu = {} if job.device.type == "cpu" else {"device_type": job.device.type}
    try:
        with (
            at_work(job.progress), torch.random.fork_rng([job.device] if gpu else [], **gpu),
            job.precision.autocast(job.device), user_code(job.task.project),
        ):  # fmt: skip
            found = answers_of(job.task.answers(model.eval()))
    except Exception as error:  # noqa: BLE001 - of the user's, and nothing that is learned depends on it
        job.recorder.note_once(job, f"what the model answers is not known: {told(error)[0]}")
    else:
        if found:
            job.recorder.answered(job, epochs_done, found, time.perf_counter() - began)
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def at_work(progress: Progress) -> Iterator[None]:
    """Signs of life while something runs that gives none itself. What takes longer than `ANSWERING_S` is noticed."""
    over = threading.Event()

    def tell() -> None:
        for _ in range(int(ANSWERING_S / SIGN_S)):
            progress.works()
            if over.wait(SIGN_S):
                return

    teller = threading.Thread(target=tell, name="at-work", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
