"""How a loop of the user's own is together with other processes. Three ways behind one interface:

* alone, as `python train.py`: one rank;
* under torchrun: equal shares, and a rank that goes ends all (`trainer.api.plain_peers`, this and the one above);
* under Motley: shares by speed, groups that are formed anew when ranks come and go (`trainer.api.run_peers`).

A loop is at one of three places: *before a step* (`settle`), *in* it, or *between* two steps, where the user's own
lines run and perhaps evaluate. A state goes from rank to rank only before a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """Of one completed step on this rank."""

    samples: int
    loss_sum: float  # over this rank's samples
    data_ms: float
    logged: dict[str, float]


class Peers(ABC):
    """`rank`, `shares` and `ranks` are of the group of now, and change with it.

    `tries`: steps of many sizes are tried; one that the device has no room for is a broken attempt, and no error.
    """

    tries = False

    def __init__(self, device: torch.device, ranks: Ranks, *, member: int, seed: int, global_batch: int) -> None:
        """`member`: the number that this process keeps in all groups. `global_batch`: where the script says none."""
        self.device = device
        self.ranks = ranks
        self.rank = 0
        self.shares: tuple[int, ...] = (1,) * len(ranks)
        self.member = member
        self.seed = seed
        self.global_batch = global_batch
        self._results: list[float] = []

    @property
    def world_size(self) -> int:
        return len(self.shares)

    @abstractmethod
    def begin(self, loop: LoopPlan, prepared: Prepared) -> None:
        """Before the first `settle`."""

    @abstractmethod
    def settle(self) -> None:
        """Before a step: all ranks are in one group and have the newest state. Sets `loop.step`.

        Raises SystemExit when the run is being stopped, SessionError when it can't go on.
        """

    @abstractmethod
    def step_begins(self) -> None:
        """The user's lines of a step come now."""

    @abstractmethod
    def computed(self) -> None:
        """The last gradient of this rank is there; what follows is waiting for others."""

    @abstractmethod
    def added_up(self) -> None:
        """The gradients of all are."""

    @abstractmethod
    def step_ended(self, figures: StepFigures) -> None:
        """The step is completed here, whatever happens to others."""

    @abstractmethod
    def broke(self, reason: str) -> None:
        """The group did, in this step, or in what comes between two."""

    def is_broken(self) -> bool:
        """Whether the group is known to be broken, though no call of its own has failed yet."""
        return False

    @property
    def gone(self) -> bool:
        """Its last word is said: there is nobody to speak to."""
        return False

    @abstractmethod
    def between(self) -> Ranks | None:
        """Who evaluates together between two steps; None on a rank whose step broke: it will come to this again."""

    def shares_of(self, ranks: Ranks) -> tuple[int, ...]:
        return tuple(self.shares[rank] for rank in ranks.members)

    @property
    def results(self) -> list[float]:
        """What `run.mean` has given since the last step, to this rank or to one that is further; NaN for the end of
        `run.batches`."""
        return self._results

    @abstractmethod
    def works(self) -> None:
        """At work on something long."""

    @abstractmethod
    def warn(self, text: str) -> None: ...

    @abstractmethod
    def save(self, name: str) -> None:
        """A checkpoint, on one rank for all."""

    @abstractmethod
    def finish(self) -> None:
        """All steps are done, or somebody has left: on all ranks at the same step."""

    @abstractmethod
    def close(self, *, error: BaseException | None) -> None:
        """The script ends. `error`: what ends it, if it is no ordinary end."""

    @abstractmethod
    def log(self, step: int, figures: dict[str, float]) -> None:
        """What the user has logged in a completed step."""
