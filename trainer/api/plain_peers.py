"""A loop of the user's own without Motley: `python train.py`, or `torchrun … train.py` with equal shares.

The same script, and the same losses; a rank that goes ends all, as torchrun has it.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist

from motley.profiles.split_solver import equal_split
from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.misuse import misuse
from motley.trainer.api.peers import Peers, StepFigures
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import OneRank, Ranks
from motley.trainer.api.share_prepared import share_prepared
from motley.trainer.api.state_of_loop import state_of_loop
from motley.trainer.devices import accelerator
from motley.trainer.devices.names import COLLECTIVES, group_backends
from motley.trainer.training import checkpoint

GLOBAL_BATCH = 256  # where the script says none, as in cluster.toml


class PlainPeers(Peers):
    def __init__(self) -> None:
        """Reads torchrun's environment, and joins its group; `MOTLEY_DEVICE` says where a script is tried."""
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device(accelerator.kind(), local) if local < accelerator.count() else torch.device("cpu")
        device = torch.device(os.environ.get("MOTLEY_DEVICE") or device)
        if accelerator.is_gpu(device):
            accelerator.use(device)
        rank, self._own_group = 0, False
        ranks: Ranks = OneRank()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._own_group = not dist.is_initialized()
            if self._own_group:
                dist.init_process_group(group_backends(COLLECTIVES.get(device.type, "gloo")))
            ranks, rank = Ranks(broken=None), dist.get_rank()
        super().__init__(device, ranks, member=rank, seed=0, global_batch=GLOBAL_BATCH)
        self.rank = rank
        self._loop: LoopPlan | None = None
        self._prepared: Prepared | None = None

    def begin(self, loop: LoopPlan, prepared: Prepared) -> None:
        self._loop, self._prepared = loop, prepared
        self.shares = equal_split(loop.batches.global_batch, len(self.ranks))
        if len(self.ranks) > 1:
            mine = torch.tensor([loop.batches.count, loop.steps_total], device=self.device)
            found = {tuple(one.tolist()) for one in self.ranks.gather(mine)}
            if len(found) > 1:
                raise misuse(
                    f"run.steps: ranks differ in samples of the dataset and steps: {sorted(found)}",
                    "Give all the same dataset and numbers",
                )
            share_prepared(prepared, step=0, source=0, device=self.device).put()

    def settle(self) -> None:
        """The group stays as it is."""

    def step_begins(self) -> None:
        """Nobody measures."""

    def computed(self) -> None:
        """Nobody measures."""

    def added_up(self) -> None:
        """Nobody measures."""

    def step_ended(self, figures: StepFigures) -> None:
        assert self._loop is not None
        self._loop.step += 1
        self._results.clear()
        if figures.logged:
            self.log(self._loop.step, figures.logged)

    def broke(self, reason: str) -> None:
        raise AssertionError(reason)  # no group of ours recovers here

    def between(self) -> Ranks:
        return self.ranks

    def save(self, name: str) -> None:
        if self._loop is None or self._prepared is None:
            raise misuse("run.save: there is nothing to save before run.steps", "Call it in the loop, or after it")
        if self.rank == 0:
            state = state_of_loop(self._loop, self._prepared, script="", step=self._loop.step)
            checkpoint.save(Path("checkpoints") / f"{name}.pt", state)

    def works(self) -> None:
        """Nobody counts the seconds."""

    def warn(self, text: str) -> None:
        print(text, flush=True)

    def finish(self) -> None:
        """Nobody is told."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        if self.rank == 0:
            words = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
            print(f"step {step}: {words}", flush=True)

    def close(self, *, error: BaseException | None) -> None:
        if self._own_group and error is None and dist.is_initialized():
            dist.destroy_process_group()
