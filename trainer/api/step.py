"""One step of the user's own loop: this rank's samples, its backward pass, and whether it counts.

    for step in run.steps(dataset, global_batch=256, epochs=10):
        with step:
            x, y = step.batch
            step.backward(F.cross_entropy(model(x), y, reduction="sum"))
            optimizer.step()

A step is completed on a rank once `backward` has returned there: what the user's lines do then to parameters stays.
When the group breaks before, the `with` ends quietly there, and `run.steps` hands out the same number again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor

from motley.trainer.api.gradients import Gradients
from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.misuse import line, misuse
from motley.trainer.api.peers import Peers, StepFigures
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import GroupBroken
from motley.trainer.data.seeded_sample import seed_all
from motley.trainer.devices import accelerator
from motley.trainer.devices.memory_shortage import shortage
from motley.trainer.errors import TrainerError
from motley.trainer.optimize.loss_kind import reduction
from motley.trainer.tasks.splitmix import key

RANDOM = 5  # the purpose of a key, as in `trainer.training.loop`


class LoopLeft(BaseException):
    """A rank has left the loop: nobody does this step. No `Exception`: the user's own `except` must not eat it."""


State = Literal["handed out", "begun", "averaged", "done", "broken", "left", "no backward", "failed"]


class Step:
    """`number` counts from 1 over the whole run, `epoch` from 0; both are the same on every rank.

    `ids`: the numbers of this rank's samples in the dataset; none where its share is 0. `done`: the step counts. False
    until the end of the `with`, and after an attempt that broke.
    """

    def __init__(self, loop: LoopPlan, peers: Peers, prepared: Prepared, gradients: Gradients) -> None:
        self._loop, self._peers, self._prepared, self._gradients = loop, peers, prepared, gradients
        self._place = loop.batches.place(loop.step)
        self.number = loop.step + 1
        self.epoch = self._place.epoch
        self._numbers = loop.batches.ids(loop.step, peers.shares, peers.rank)
        self.ids: list[int] = self._numbers.tolist()
        self.state: State = "handed out"
        self.logged: dict[str, float] = {}
        self.at = ("", 0)  # the line of the `with`
        self._content: Any = None
        self._made = False
        self._data_s = 0.0
        self._losses: list[tuple[Tensor, int]] = []  # detached, unscaled, each with what makes it a sum over samples
        self._part: int | None = None  # samples of the part that is handed out
        self._in_parts = False
        self._last_part = False

    @property
    def done(self) -> bool:
        return self.state == "done"

    def __repr__(self) -> str:
        return f"<step {self.number}, {len(self.ids)} samples: {self.state}>"

    def __enter__(self) -> Step:
        if self.state != "handed out":
            raise misuse(f"step {self.number} is over", "Take each step of run.steps once")
        self.state, self.at = "begun", line()
        self._hand_out(len(self.ids), self._loop.batches.global_batch)  # to a loop that makes its own batches
        self._seed(0)
        self._peers.step_begins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        del kind, trace
        self._prepared.wake_batchnorm()
        if isinstance(error, GroupBroken) or (self._peers.tries and self._is_too_large(error)):
            self.state = "broken"
            self._content = None
            self._prepared.clear_gradients()
            self._peers.broke(str(error))
            return True
        if isinstance(error, LoopLeft):
            self.state = "left"
            self._prepared.clear_gradients()
            return True
        if error is not None:
            self.state = "failed"
            return False
        if self.state != "averaged":
            self.state = "no backward"
            return False
        self.state = "done"
        loss_sum = sum((float(loss) * weight for loss, weight in self._losses), 0.0)
        if "loss" in self.logged and self.ids:
            loss_sum = self.logged["loss"] * len(self.ids)
        self._content = None
        figures = StepFigures(
            samples=len(self.ids), loss_sum=loss_sum, data_ms=self._data_s * 1000, logged=dict(self.logged)
        )
        try:
            self._peers.step_ended(figures)
        except TrainerError:  # it ends the run: nobody is to be asked to leave the loop
            self.state = "failed"
            raise
        return False

    def _is_too_large(self, error: BaseException | None) -> bool:
        """Whether the device had no room for it. What a single sample fails of may be something else."""
        short = shortage(error, (self._peers.device,)) if error is not None else None
        return short is not None and (short.sure or len(self.ids) > 1)

    @property
    def batch(self) -> Any:
        """This rank's samples, collated, on its device. Where its share is 0 a borrowed sample that counts for
        nothing."""
        self._needs_begun("step.batch")
        self._hand_out(len(self.ids), self._loop.batches.global_batch)
        if not self._made:
            self._content, self._made = self._take(self._numbers if self.ids else self._borrowed(), 0), True
        return self._content

    def parts(self, rows: int) -> Iterator[Any]:
        """This rank's samples in batches of at most `rows`, each of which needs its own `backward`; the gradients are
        averaged at the last one. None where its share is 0."""
        self._needs_begun("step.parts")
        if rows < 1:
            raise misuse(f"step.parts: rows is {rows}", "Say at least 1")
        if self._in_parts or self._losses:
            raise misuse("this step is computed already", "Call step.parts once, and before any backward")
        self._in_parts = True
        return self._parts(rows)

    def _parts(self, rows: int) -> Iterator[Any]:
        self._prepared.clear_gradients()
        for start in range(0, len(self.ids), rows):
            ids = self._numbers[start : start + rows]
            content = self._take(ids, start)
            self._part, self._last_part = len(ids), start + rows >= len(self.ids)
            self._hand_out(len(ids), rows)
            yield content
            if self._part is not None:
                raise misuse("a part of step.parts has had no backward", "Call step.backward(loss) in each of them")
        if not self.ids:
            self._average()

    def backward(self, loss: Tensor, *, mean: bool = False) -> None:
        """The gradient of the mean loss over the step's samples of all ranks, into `.grad`.

        `loss`: the sum over the samples of `step.batch`, or of the part; with `mean` their mean. Gradients of before
        are dropped. Raises SessionError for what is no such loss.
        """
        self._needs_begun("step.backward")
        if self.state == "averaged" or (self._in_parts and self._part is None):
            raise misuse(
                f"step {self.number} has had its backward already",
                "Add the losses up and call it once, or compute the share in parts: for x, y in step.parts(rows=8)",
            )
        self._check(loss, mean)
        if not self._in_parts:
            self._prepared.clear_gradients()
        samples = len(self.ids) if self._part is None else self._part
        if samples:
            factor = (samples if mean else 1) / self._place.size
            torch.autograd.backward(loss * factor)
            self._losses.append((self._prepared.unscaled(loss.detach()), samples if mean else 1))
        else:
            self._prepared.restore_buffers()
        self._part = None
        if not self._in_parts or self._last_part:
            self._average()

    def _average(self) -> None:
        self._peers.computed()
        ranks = self._peers.ranks
        if len(ranks) > 1 and not self._gradients.add_up(self._prepared.parameters(), ranks.add_up):
            self._loop.ended = True
            raise LoopLeft
        self._peers.added_up()
        self.state = "averaged"

    def _check(self, loss: Any, mean: bool) -> None:
        if not isinstance(loss, Tensor):
            raise misuse(f"step.backward: the loss is a {type(loss).__name__}", "Give it the tensor that is to fall")
        if loss.numel() != 1:
            raise misuse(f"step.backward: the loss has the shape {tuple(loss.shape)}", "Give it one number: loss.sum()")
        if not loss.requires_grad:
            raise misuse("step.backward: the loss depends on no parameter", "Compute it from the model's outputs")
        kind = reduction(loss)
        if not mean and kind == "mean":
            raise misuse(
                "step.backward: the loss is a mean over samples, where a sum is expected",
                'Write step.backward(loss, mean=True), or reduction="sum" in the loss',
            )
        if mean and kind == "sum":
            raise misuse("step.backward: the loss is a sum over samples, and mean=True is said", "Leave mean=True out")

    def _needs_begun(self, what: str) -> None:
        if self.state == "handed out":
            raise misuse(f"{what} belongs into the step", "Write `with step:` around it")
        if self.state not in ("begun", "averaged"):
            raise misuse(f"{what}: step {self.number} is over", "Use it in the step's own `with`")

    def _borrowed(self) -> Tensor:
        return self._loop.batches.ids(self._loop.step, (1,), 0)[:1]

    def _take(self, ids: Tensor, start: int) -> Any:
        began = time.perf_counter()
        content = self._loop.take(ids, self.epoch, self._peers.device)
        self._seed(1 + start)  # samples draw random numbers of their own
        self._data_s += time.perf_counter() - began
        return content

    def _hand_out(self, samples: int, asked: int) -> None:
        """The user's lines compute so many of this rank's samples next, of so many as they have asked for: one alone is
        right where they have asked for one."""
        if samples < 2 <= asked or not samples:
            self._prepared.rest_batchnorm()
        else:
            self._prepared.wake_batchnorm()

    def _seed(self, part: int) -> None:
        """What the model draws depends on the seed, the step and the member alone."""
        seed = key(self._loop.batches.seed, self._loop.step, self._peers.member, RANDOM, part)
        seed_all(seed)
        accelerator.seed(self._peers.device, seed)
