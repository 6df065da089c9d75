"""A loop of the user's own that is tried or measured by itself: somebody says how large its steps are, and hears how
long they take.

`motley check --train` and `motley profile` start the script so (`trainer.trials.script_process`): lines of JSON on one
pipe ask, `{"batch": 64}` for a step and `{"threads": 2}` for a number of threads, those on another one answer. When the
first one closes the script ends. Nothing is saved, and nothing that is logged is printed.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.peers import Peers, StepFigures
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import OneRank
from motley.trainer.devices import accelerator
from motley.trainer.training.emulated_speed import slowdown_of
from motley.trainer.training.weighted_ddp import stopwatch

MIB = 2**20


class TimedPeers(Peers):
    tries = True

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given`: what `MOTLEY_TIMED` says."""
        device = torch.device(os.environ.get("MOTLEY_DEVICE") or "cpu")
        if accelerator.is_gpu(device):
            accelerator.use(device)
        super().__init__(device, OneRank(), member=0, seed=given["seed"], global_batch=given["global_batch"])
        for descriptor in (given["commands"], given["answers"]):
            os.set_inheritable(descriptor, False)
        self._commands = os.fdopen(given["commands"], "r")
        self._answers = os.fdopen(given["answers"], "w", buffering=1)
        self._watch, self._slowdown = stopwatch(device), slowdown_of(given["speed"], given["speeds"], device)
        self._began, self._steps = 0.0, 0
        self._ran_out = False  # in the step before
        self._loop: LoopPlan
        self._say(session=True)

    @property
    def world_size(self) -> int:
        return 1

    def begin(self, loop: LoopPlan, prepared: Prepared) -> None:
        self._loop = loop
        loop.steps_total = sys.maxsize  # it ends when nobody asks any more
        parameters, gpu = prepared.parameters(), accelerator.is_gpu(self.device)
        said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        own = None if gpu or said == str(torch.get_num_threads()) else torch.get_num_threads()
        self._say(
            loop={
                "samples": loop.batches.count,
                "global_batch": loop.batches.global_batch,
                "parameters": sum(p.numel() for p in parameters),
                "gradient_bytes": sum(p.numel() * p.element_size() for p in parameters),
                "device_name": accelerator.name_of(self.device) if gpu else "",
                "torch": torch.__version__,
                "threads": own,
            }
        )

    def settle(self) -> None:
        """Wait for the next order. All steps are whole ones of the first epoch. Raises SystemExit at the end."""
        if self._ran_out:  # only now has the error let go of what the step had
            gc.collect()
            accelerator.release_memory(self.device)
            self._ran_out = False
        size = min(self._loop.batches.global_batch, self._loop.batches.count)
        self._loop.step = self._steps % max(1, self._loop.batches.count // size)
        while True:
            line = self._commands.readline()
            if not line:
                raise SystemExit(0)
            order = json.loads(line)
            if "threads" in order:
                torch.set_num_threads(int(order["threads"]))
                continue
            batch = int(order["batch"])
            self.shares = (batch, size - batch)
            return

    def step_begins(self) -> None:
        if accelerator.is_gpu(self.device):
            accelerator.restart_peak(self.device)
        self._began = time.perf_counter()
        self._slowdown.begin()
        self._watch.start()

    def computed(self) -> None:
        self._slowdown.pause()
        self._watch.last_gradient()

    def added_up(self) -> None:
        self._watch.all_reduced()
        self._slowdown.begin()

    def step_ended(self, figures: StepFigures) -> None:
        self._slowdown.pause()
        compute_ms, wait_ms = self._watch.read()
        step_ms = (time.perf_counter() - self._began) * 1000 - wait_ms
        self._steps += 1
        self._results.clear()
        self._say(compute_ms=max(1e-3, compute_ms - figures.data_ms), step_ms=step_ms, memory=self._memory())

    def broke(self, reason: str) -> None:
        """The device has no room for a step of this size."""
        self._ran_out = True
        self._say(out_of_memory=reason)

    def between(self) -> OneRank:
        return OneRank()

    def works(self) -> None:
        """Nobody counts the seconds."""

    def warn(self, text: str) -> None:
        print(text, flush=True)

    def save(self, name: str) -> None:
        """Nobody wants it."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Nobody reads it."""

    def finish(self) -> None:
        """Nobody is told."""

    def close(self, *, error: BaseException | None) -> None:
        """Whoever waits sees that the script has ended."""

    def _memory(self) -> dict[str, float] | None:
        if not accelerator.is_gpu(self.device):
            return None
        figures = {
            "peak": accelerator.peak_bytes(self.device),
            "reserved": accelerator.peak_reserved_bytes(self.device),
            "room": accelerator.room_bytes(self.device),
            "total": accelerator.total_bytes(self.device),
        }
        return {name: value / MIB for name, value in figures.items()}

    def _say(self, **words: Any) -> None:
        try:
            self._answers.write(json.dumps(words) + "\n")
        except BrokenPipeError:
            raise SystemExit(0) from None
