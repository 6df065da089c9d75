"""`motley.Task`: what is trained. A class of the user's own derives from it, and so do the tasks that come with Motley.

A model, data and a loss are all that it has to have; every other method has a default.

    class Night(motley.Task):
        def model(self):
            return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

        def train_data(self):
            return images, labels               # tensors, or a map-style Dataset

        def loss(self, outputs, targets):
            return F.cross_entropy(outputs, targets)

A *batch* is what the samples of one pass make together: of tensors, their rows; of a Dataset, what `collate` makes of
its samples. Where it is a pair, it is (inputs, targets). All tensors have the sample as their first dimension.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from motley.trainer.errors import TaskError


class Task:
    """`options` holds the parameters of `[task]` in cluster.toml: an `Options`, where the class has one, a dataclass
    that says which there are; else a dict."""

    Options: ClassVar[type | None] = None
    name: str = ""  # as cluster.toml has it
    project: Path | None = None  # the folder of the user's files on this host; None: a task of Motley's
    data_path: Path | None = None  # the folder of `[data] push`, or `[data] path`, on this host

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def model(self) -> nn.Module:
        """A new model, on the CPU. torch's random numbers are seeded before, so it is the same on every rank."""
        raise NotImplementedError

    def train_data(self) -> Any:
        """What to train on: a tuple of tensors, all of the same length, or a map-style Dataset of known length.

        `__getitem__` finds the random numbers of torch, numpy and random seeded by (seed, epoch, number of the sample):
        a sample looks the same whichever rank draws it.
        """
        raise NotImplementedError

    def test_data(self) -> Any:
        """What to evaluate on, of the same kinds; None: there is no evaluation."""
        return None

    def work(self) -> Tensor | None:
        """What each sample of `train_data` costs to compute, in any unit: int64 [n], each at least 1. Ranks then share
        out the work of a step, not its samples: who is twice as fast takes twice the work. None: all cost alike.

        Asked once, after `train_data`; it must be the same on all hosts.
        """
        return None

    def lengths(self) -> Tensor | None:
        """How long each sample of `train_data` is, where `collate` pads a batch to its longest sample (tokens): int64
        [n], each at least 1. A pass then takes memory for its samples times the longest of them: micro-batches are cut
        by that, of samples of about one length, and `cut` takes off the padding that they don't need.

        None: all are alike. Asked once, after `train_data`; it must be the same on all hosts.
        """
        return None

    def cut(self, batch: Any, length: int) -> Any:
        """A batch whose longest sample has this length, without the padding beyond it. Called for the parts of a batch
        that was padded to a longer one, where `lengths` says so; by default they stay as they are."""
        del length
        return batch

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch out of the samples of a Dataset: one or more of them."""
        return default_collate(list(samples))

    def augment(self, batch: Any, bits: Tensor) -> Any:
        """A batch of the training data as it is to be seen in this epoch. `bits`: int64 [n], 64 random bits for each
        sample, that follow from (seed, epoch, number of the sample)."""
        del bits
        return batch

    def prepare(self, batch: Any) -> Any:
        """Last, on the CPU, of training and test data alike: to normalise, to change types."""
        return batch

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """The model's outputs; `batch` is on its device. By default `model(inputs)`, or `model(batch)` where the batch
        is no pair."""
        return model(batch[0] if is_pair(batch) else batch)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss over the samples, as torch's losses give it, or one value for each sample, [n].

        `targets`: of the pair that the batch is, else the batch.
        """
        raise NotImplementedError

    def metrics(self, outputs: Any, targets: Any) -> Mapping[str, Tensor]:
        """Figures of the test data besides the loss: of each its mean over these samples, or one value for each sample,
        [n]. The run's checkpoint `best.pt` is the one of the highest `accuracy` (0 to 1), without one of the lowest
        loss."""
        del outputs, targets
        return {}

    def count(self, targets: Any) -> int | None:
        """What the mean loss over `targets` is a mean of, where that is not samples: tokens that are not masked."""
        del targets
        return None

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer | None:
        """None: what `[run]` says (optimizer, learning_rate, momentum, weight_decay)."""
        del model
        return None

    def travels(self, name: str) -> bool:
        """Whether the parameter or buffer of this name in the model's `state_dict` goes to other hosts and into
        checkpoints. False: every host has its own copy of it, which `model` reads, such as the frozen weights of a
        model that is on its disk. What is trained always travels. To be the same on all hosts."""
        del name
        return True

    def spread(self, model: nn.Module, devices: Sequence[torch.device]) -> None:
        """Put `model`, which is on the CPU, onto several cards of one rank, and have it compute there: asked only where
        a host names several in one (`devices = [["cuda:0", "cuda:1"]]`), which no task can be trained on but those that
        have this method. What is trained stays on the first card: its gradients go together with those of ranks that
        have one card. A batch comes on the first card, and outputs are to be there."""
        raise NotImplementedError

    def figures(self, loss: float) -> Mapping[str, float]:
        """What follows from the mean loss of the test data, and is told beside it: `{"perplexity": math.exp(loss)}`."""
        del loss
        return {}

    def units(self) -> tuple[str, Tensor] | None:
        """What throughput is told in besides samples, and how many each sample of `train_data` has, in its order:
        ("tokens", int64 [n])."""
        return None

    def answers(self, model: nn.Module) -> Sequence[tuple[str, str]]:
        """Prompts, and what the model says to them, to be read after each evaluation: eight at most, of 2,000
        characters each. Rank 0 alone asks for them while the others wait, so they should take seconds; `model` is in
        eval mode, and no gradients are kept."""
        del model
        return ()

    def metadata(self) -> Mapping[str, Any]:
        """What whoever uses the trained model has to know, in plain values: `classes`, the names of the outputs in
        order, `mean` and `std` of a normalisation. Checkpoints keep it, and `motley export` writes it beside the
        weights."""
        return {}

    def export(
        self, weights: Mapping[str, Tensor], about: Mapping[str, Any], room: Path, *, merge: bool
    ) -> Mapping[str, bytes | Path | Mapping[str, Tensor]] | None:
        """The files of a folder for others, by name, where `motley export` is given a folder: bytes, tensors by name
        for a file of safetensors, or a file below `room`, a folder that is empty and soon gone. `weights`: of the
        checkpoint; `about`: what a file's metadata would be; `merge`: together with those that do not travel. None: a
        file will do."""
        del weights, about, room, merge
        return None

    def identity(self) -> Mapping[str, str]:
        """What must be the same on all hosts besides the training data, each by its name and a short word of it: a
        digest, a version. Asked for after `train_data`. Where two hosts differ the run ends before its first step, and
        one that joins is refused, with both words. What stands in brackets at a word's end is told, not compared."""
        return {}

    def schedule(self, step: int, steps: int) -> float | None:
        """The factor on the optimizer's learning rates in step `step` of `steps`, from 0. None: `[run] schedule`."""
        del step, steps
        return None


def class_names(task: Task) -> list[str]:
    """The names of the outputs in order, as far as the task tells: what is wrong with its `metadata`, `motley export`
    says."""
    return _names_in(_told(task))


def kept_metadata(task: Task) -> dict[str, Any]:
    """For a checkpoint: `classes` as `class_names` has them, and `metadata`, all of it, where it is of plain values."""
    told = _told(task)
    kept: dict[str, Any] = {"classes": _names_in(told)}
    with contextlib.suppress(TaskError):
        kept["metadata"] = plain_metadata(told, type(task).__name__)
    return kept


def plain_metadata(given: object, kind: str) -> dict[str, Any]:
    """As JSON has it. Raises TaskError for what is no table of plain values."""
    if not isinstance(given, Mapping):
        raise TaskError(f"{kind}.metadata gives a {type(given).__name__}", "Give a dict of plain values")
    try:
        found: dict[str, Any] = json.loads(json.dumps({str(name): value for name, value in given.items()}))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"{kind}.metadata gives what is no plain value: {error}", "Give lists in place of it"
        ) from error
    return found


def _told(task: Task) -> object:
    try:
        return task.metadata()
    except Exception:  # noqa: BLE001 - code of the user's, which nothing here depends on
        return None


def _names_in(told: object) -> list[str]:
    names = told.get("classes") if isinstance(told, Mapping) else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def is_pair(batch: Any) -> bool:
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def targets_of(batch: Any) -> Any:
    """What the loss compares the outputs with."""
    return batch[1] if is_pair(batch) else batch


def spreads(task: Task) -> bool:
    """Whether a rank can train it on several cards."""
    return type(task).spread is not Task.spread


def answers(task: Task) -> bool:
    """Whether the task has its model say something."""
    return type(task).answers is not Task.answers


def counts(task: Task) -> bool:
    """Whether the mean loss is a mean over something else than samples."""
    return type(task).count is not Task.count
