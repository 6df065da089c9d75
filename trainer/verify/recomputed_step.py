"""One optimizer step's loss and gradient, computed by one process from the weights before it.

The samples of a step depend on the seed, its number and the global batch alone (`trainer.training.sampler`), so they
are known here without a word from any host. The whole batch is one sum, as one machine would have it, in passes small
enough for memory. Only where the split itself changes what is computed (BatchNorm, whose statistics are of a rank's
samples; dropout, which is drawn by each rank) are the ranks' parts taken as the run had them, one after the other.

    >>> recompute({"options": {…}, "data": {…}, "step": 7, "checkpoint": "epoch_1.pt", "parts": [[0, 99], [1, 74]], …})
    {'loss': 0.2384, 'norms': […], 'projections': […], 'split': False, …}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, own_task_of, run_options_of
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import CheckpointError, TrainerError
from motley.trainer.health.gradient_fingerprint import Fingerprint
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.optimize.precision import Precision
from motley.trainer.tasks.splitmix import key
from motley.trainer.tasks.task import counts
from motley.trainer.tasks.task_loss import summed_loss, weight
from motley.trainer.tasks.task_module import TaskModule, new_model
from motley.trainer.training import batchnorm, checkpoint
from motley.trainer.training.loop import RANDOM
from motley.trainer.training.sampler import BatchSampler

CPU = torch.device("cpu")
_THIS = "This folder's cluster.toml and its checkpoints are not of one run, or one of them was changed"


def recompute(request: Mapping[str, Any], note: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """`request`: `options`, `data` and `own_task` as in a spec; `step`, counted from 1; `checkpoint`, a path, or None
    before the first step; `parts` [[member, share]] of its ranks, in their order; `sign_seed` of the fingerprint;
    `precision` of forward passes. `note` is told what is done.

    Returns `loss` (the mean over the step), `tensors`, `norms` and `projections` of its mean gradient (see
    `trainer.health.gradient_fingerprint`), `samples`, `steps_per_epoch`, `split` (whether the ranks' parts were taken
    as they were), `torch` (its version). Raises TrainerError.
    """
    options, data = run_options_of(dict(request["options"])), DataOptions(**request["data"])

    def told(text: str, _: float | None) -> None:
        note(text)

    task = tasks.load(options, data, told, own_task_of(dict(request)), device=CPU)
    samples = TaskData.of(task, seed=options.seed)
    torch.manual_seed(options.seed)  # as every rank begins: `rank.job_setup.prepare`
    model = new_model(task)
    if request["checkpoint"] is not None:
        _load(Path(request["checkpoint"]), request, model, LocalWeights.of(task, model))
    batches = BatchSampler(
        count=samples.train_size, global_batch=options.global_batch, seed=options.seed, work=samples.work,
        lengths=samples.lengths,
    )  # fmt: skip
    number = int(request["step"]) - 1
    place = batches.place(number)
    split = batchnorm.has_batchnorm(model) or _has_dropout(model)
    module, precision = TaskModule(task, model), Precision(request["precision"])
    loss_sum, counted, passed = 0.0, 0, 0
    for ids, member, first in _passes(batches, number, request["parts"], options.accumulate, split=split):
        batch = samples.train_batch(ids, place.epoch)
        if first:
            torch.default_generator.manual_seed(key(options.seed, number, member, RANDOM))
        batchnorm.train(module, samples=batch.size)
        with precision.autocast(CPU):
            loss = summed_loss(task, module, batch.content, batch.size)
        torch.autograd.backward(loss)
        loss_sum += float(loss.detach().double())
        passed += len(ids)
        note(f"{passed} of {place.size} samples")
        counted += weight(task, batch.content, batch.size) if counts(task) else batch.size
    trained = (p for p in model.parameters() if p.requires_grad)
    found = Fingerprint.of(trained, seed=int(request["sign_seed"]), scale=max(1, counted))
    return {
        "loss": loss_sum / max(1, counted),
        "tensors": found.tensors,
        "norms": found.norms,
        "projections": found.projections,
        "samples": place.size,
        "steps_per_epoch": batches.steps_per_epoch,
        "split": split,
        "torch": torch.__version__,
    }


def _load(path: Path, request: Mapping[str, Any], model: nn.Module, local: LocalWeights) -> None:
    """The weights before the step. Raises CheckpointError for those of another step, run or model."""
    saved = checkpoint.load(path)
    before, options = int(request["step"]) - 1, request["options"]
    if int(saved["step"]) != before:
        raise CheckpointError(f"{path.name} is of step {saved['step']}, not of step {before}", _THIS)
    for name in ("seed", "global_batch", "task"):
        if saved[name] != options[name]:
            raise CheckpointError(f"{path.name} has {name} {saved[name]!r}, cluster.toml {options[name]!r}", _THIS)
    local.check(saved.get("local"), path.name)
    try:
        local.load(model, saved["model"])
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()), "")
        raise CheckpointError(f"{path.name} is of another model: {first}", _THIS) from error


def _passes(
    batches: BatchSampler, number: int, parts: list[list[int]], accumulate: int, *, split: bool
) -> Iterator[tuple[Tensor, int, bool]]:
    """The samples of each pass, the member that has them, and whether it is that one's first. `parts`: [member,
    share]."""
    size = batches.place(number).size
    shares = [int(share) for _, share in parts]
    if sum(shares) <= 0:
        raise TrainerError("no rank has told its part of that step", "Take another step")
    largest = max(1, -(-max(shares) // accumulate))
    if not split:
        whole = batches.ids(number, (size,), 0)
        yield from ((ids, int(parts[0][0]), True) for ids in whole.split(largest))
        return
    for rank, (member, _) in enumerate(parts):
        ids = batches.ids(number, shares, rank)
        for n, some in enumerate(torch.tensor_split(ids, max(1, min(accumulate, len(ids))))):
            if len(some):
                yield some, int(member), n == 0


def _has_dropout(model: nn.Module) -> bool:
    return any(isinstance(module, _DropoutNd) and module.p > 0 for module in model.modules())
