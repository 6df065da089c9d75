"""Single steps of a task on one device, timed as the training loop times them. Used by `trainer.verbs.calibrate`.

Needs a process group of one.

    >>> bench = TimedSteps(options, task, data, device, slowdown)
    >>> bench.warm_up(64, 3)
    True
    >>> bench.step(64)          # time to the last local gradient, and of all that is not waiting
    (31.2, 33.0)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.sample_costs import typical
from motley.trainer.data.task_data import TaskData
from motley.trainer.devices import accelerator
from motley.trainer.errors import OutOfMemory
from motley.trainer.optimize.model_options import set_up
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.optimize.precision import abilities, agreed
from motley.trainer.rank.compile_ahead import compile_ahead
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import evaluated
from motley.trainer.tasks.task_module import new_model, own_optimizer, placed
from motley.trainer.training.emulated_speed import Slowdown
from motley.trainer.training.micro_batches import MicroBatches
from motley.trainer.training.weighted_ddp import stopwatch, wrap


class TimedSteps:
    """A model and its optimizer on one device, ready for steps of any size."""

    def __init__(
        self,
        options: RunOptions,
        task: Task,
        data: TaskData,
        device: torch.device,
        slowdown: Slowdown,
        *,
        accumulate: int = 1,
        beside: Sequence[torch.device] = (),
    ) -> None:
        """`beside`: further cards, of a rank that has several."""
        self._task = task
        self._data = data
        self._slowdown = slowdown
        self._device = device
        self._clip_norm = options.clip_norm
        self._devices = (device, *beside)
        model = placed(task, new_model(task), self._devices)
        _ema, compilation = set_up(options, model)
        compile_ahead(compilation, options, task, data, model, lambda text: print(text, file=sys.stderr))
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in parameters)
        self.gradient_bytes = sum(p.numel() * p.element_size() for p in parameters)
        # Weights stay as they are, whatever number of steps is measured: the work is the same.
        self._optimizer = own_optimizer(task, model) or make_optimizer(replace(options, learning_rate=1e-12), model)
        for group in self._optimizer.param_groups:
            group["lr"] = 1e-12
        precision = agreed(options.precision, abilities(device))
        self._watch = stopwatch(device)
        self._model = wrap(task, model, device)
        self._ran_out = False
        self._passes = MicroBatches(
            task, self._model, device, self._watch, accumulate=accumulate, ran_out=self._note_ran_out,
            computed=slowdown.pause, autocast=lambda: precision.autocast(device),
        )  # fmt: skip
        self._next = self._turn = 0

    def warm_up(self, batch: int, steps: int) -> bool:
        """Steps that are not measured: kernels are chosen, buckets built. False when the batch does not fit."""
        try:
            for _ in range(steps):
                self.step(batch)
        except OutOfMemory:
            self._ran_out = True
        fits = not self._ran_out
        self._ran_out, self._passes.limit = False, None
        return fits

    def step(self, batch: int) -> tuple[float, float]:
        """One step of `batch` samples: ms to the last local gradient, and of the whole step without waiting."""
        began = time.perf_counter()
        self._slowdown.begin()
        ids, *then = [self._ids(batch, n) for n in range(self._data.steps_ahead + 1)]
        self._next, self._turn = (self._next + batch) % self._data.train_size, self._turn + 1
        samples = self._data.train_batch(ids, 0, then=[(those, 0) for those in then])
        self._optimizer.zero_grad(set_to_none=True)
        self._watch.start()
        loss_sum = self._passes.run(samples, scale=1 / batch, lengths=self._data.lengths_of(ids))
        self._watch.all_reduced()
        self._slowdown.begin()
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self._optimizer.step()
        self._slowdown.pause()
        compute_ms, wait_ms = self._watch.read()
        float(loss_sum)  # waits for the device
        return compute_ms, (time.perf_counter() - began) * 1000 - wait_ms

    def _ids(self, batch: int, later: int) -> torch.Tensor:
        """The samples of the step that comes so many later. Where samples differ in what they cost, their work is that
        of `batch` mean ones, as the run counts it."""
        data = self._data
        if data.work is not None:
            ids = typical(data.work, batch, self._turn + later)
        else:
            ids = (torch.arange(batch) + self._next + batch * later) % data.train_size
        return ids if data.lengths is None else ids[torch.argsort(data.lengths[ids], descending=True, stable=True)]

    @property
    def pass_limit(self) -> int | None:
        """The most samples of a pass, once more were too many for the memory; of the longest, where they differ."""
        limit, longest = self._passes.limit, self._data.longest
        return limit if limit is None or longest is None else max(1, limit // longest)

    def longest_that_fit(self, most: int) -> int:
        """How many of the longest sample fit into one pass: 1, 2, 4, … are tried, up to `most`. Only where lengths are
        known. Raises OutOfMemory, which names the length, when not even one does."""
        fits = 0
        while fits < most and self.longest_fits(tried := min(max(1, 2 * fits), most)):
            fits = tried
        return fits

    def longest_fits(self, times: int) -> bool:
        """Whether a pass with so many of the longest sample does."""
        assert self._data.lengths is not None
        ids = torch.full((times,), int(self._data.lengths.argmax()))
        limit, accumulate = self._passes.limit, self._passes.accumulate
        self._ran_out, self._passes.limit, self._passes.accumulate = False, None, 1
        self._optimizer.zero_grad(set_to_none=True)
        try:
            loss_sum = self._passes.run(self._data.train_batch(ids, 0), scale=0.0, lengths=self._data.lengths_of(ids))
            float(loss_sum)  # waits for the device
        finally:
            self._passes.limit, self._passes.accumulate = limit, accumulate
        self._optimizer.zero_grad(set_to_none=True)
        fits, self._ran_out = not self._ran_out, False
        return fits

    def evaluate(self, samples: int) -> None:
        """Loss and metrics of so many samples of the test data, if there are any: what they raise is known then."""
        samples = self._passes.most_samples(min(samples, self._data.test_size), self._data.longest)
        samples = min(samples, self._data.test_size)
        if not samples:
            return
        self._model.eval()
        with torch.no_grad():
            some = self._data.test_batch(0, samples).to(self._device)
            evaluated(self._task, self._model.module, some.content, some.size)
        self._model.train()

    def peak_mib(self, batch: int) -> float:
        """The most memory allocated on a GPU during a step; of several cards together."""
        for device in self._devices:
            accelerator.restart_peak(device)
        self.step(batch)
        return sum(map(accelerator.peak_bytes, self._devices)) / 2**20

    def room_mib(self) -> float:
        """What there is of a GPU's memory, with what this process has; of several cards together."""
        return sum(map(accelerator.room_bytes, self._devices)) / 2**20

    def _note_ran_out(self, _before: int, _after: int) -> None:
        self._ran_out = True
