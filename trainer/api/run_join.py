"""What ranks of a user's own loop settle when they form a group: where each is, whether the same step breaks for ever,
and with what the next steps are measured.

`trainer.api.run_peers` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from motley.profiles.cgroup import CpuQuota
from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.misuse import misuse
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import Ranks, collective
from motley.trainer.api.session_member import SessionMember
from motley.trainer.api.state_of_loop import SessionState
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.cpu_budget import CpuBudget
from motley.trainer.balance.own_policy import Policy
from motley.trainer.balance.thread_trial import ThreadTrial
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import SessionError
from motley.trainer.rank.cpu_threads import threads_of
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.share_state import share_table
from motley.trainer.training.emulated_speed import Slowdown
from motley.trainer.training.metrics import DeviceMeter, MetricsFile
from motley.trainer.training.recorder import Recorder
from motley.trainer.training.weighted_ddp import stopwatch
from motley.trainer.training.window_exchange import Window

MOST_BREAKS = 3  # at one place, in a row, with nobody lost
BEFORE_STEP, BETWEEN, AT_START = range(3)  # where a rank is that joins a group; at the start it has had no state yet


@dataclass(slots=True)
class Joined:
    """The group that a rank is in."""

    group: Group
    balancer: Balancer
    shares: tuple[int, ...]
    between: Ranks | None  # who evaluates until the next step, where others wait for them; None: all
    state: SessionState | None = None  # once all have the newest state


@dataclass(slots=True)
class Breaks:
    """How often the group broke at the same place in a row although nobody was lost."""

    count: int = 0
    reason: str = ""  # of the last one
    broken: bool = False  # the last group; else it was let go of on purpose
    place: tuple[int, bool, int] = (-1, False, 0)  # of the last one: the arguments of `look`
    members: frozenset[int] = field(default_factory=frozenset)  # of the last group

    def note(self, reason: str) -> None:
        self.broken, self.reason = True, reason

    def look(self, group: Group, step: int, *, in_step: bool, results: int) -> None:
        """At the next group. `step` is the one that is to come, or with `in_step` the one under way; `results`: how
        much of an evaluation is done before it. Raises SessionError for a place that is never got through."""
        members, place = frozenset(group.members), (step, in_step, results)
        counts = self.broken and self.members <= members
        self.count = (self.count if place == self.place else 0) + 1 if counts else 0
        self.members, self.place, self.broken = members, place, False
        if self.count < MOST_BREAKS:
            return
        if in_step:
            raise SessionError(
                f"step {step} broke {self.count} times although nobody was lost: {self.reason}",
                "Look at what all ranks do in it: they must make the same gradients",
            )
        raise SessionError(
            f"the group broke {self.count} times before step {step} although nobody was lost: {self.reason}",
            "Look at what all ranks do there: they must come to the same calls, with the same objects",
        )


def meet(
    ranks: Ranks,
    rank: int,
    where: int,
    step: int,
    results: Sequence[float],
    loop: LoopPlan,
    device: torch.device,
) -> tuple[Ranks | None, list[float], bool]:
    """All tell where they are: `where`, with the state of `step`, and so many `results` since (`Peers.results`).

    Returns the ranks that are between two steps, where there are any, what was found by those who are furthest in it,
    and whether all are at the start: what comes before the first step they evaluate together then. Where one knows that
    the loop has ended, all do. Raises GroupBroken, and SessionError when data or numbers are not the same on all.
    """
    numbers = (loop.batches.count, loop.batches.global_batch, loop.steps_total)
    places = [one.tolist() for one in ranks.gather(torch.tensor([where, step, len(results), loop.ended, *numbers]))]
    for there in places:
        if there[4:] != places[0][4:]:
            raise misuse(
                f"run.steps: ranks differ in samples of the dataset, global_batch and steps: {there[4:]} and "
                f"{places[0][4:]}",
                "Let every host have the same data and script",
            )
    loop.ended = any(there[3] for there in places)
    some = [number for number, there in enumerate(places) if there[0] == BETWEEN]
    if not some:
        return None, list(results), all(there[0] == AT_START for there in places)
    at = places[some[0]][1]
    furthest = max((n for n, there in enumerate(places) if there[1] == at), key=lambda n: int(places[n][2]))
    with collective():
        found = share_table({"results": list(results)} if furthest == rank else None, device, source=furthest)
        between = Ranks(broken=ranks.broken, some=some)
    return between, [float(one) for one in found["results"]] if where == BETWEEN else list(results), False


def wait_for_all(ranks: Ranks, device: torch.device) -> None:
    """Until every rank has come here. Raises GroupBroken."""
    ranks.add_up([torch.zeros(1, device=device)])


@dataclass(frozen=True, slots=True)
class Instruments:
    """What measures and tells of this rank's steps, as long as its process lives."""

    metrics: MetricsFile
    meter: DeviceMeter
    budget: CpuBudget
    threads: ThreadTrial
    recorder: Recorder
    policy: Policy | None  # of the user's own, that the batch is shared out by

    @classmethod
    def of(cls, me: SessionMember, device: torch.device) -> Instruments:
        return cls(
            metrics=MetricsFile(me.folder, member=me.member.member),
            meter=DeviceMeter(device),
            budget=CpuBudget(CpuQuota(), len(me.spec.local_members)),
            threads=threads_of(me.spec, me.member, device, me.folder, me.journal, session=True),
            recorder=Recorder(me.folder, me.journal, me.client, me.spec),
            policy=me.own_policy(),
        )

    def loop_state(
        self,
        me: SessionMember,
        joined: Joined,
        options: RunOptions,
        loop: LoopPlan,
        prepared: Prepared,
        kept: KeptState,
        slowdown: Slowdown,
    ) -> SessionState:
        """Of a group whose members all have the state that is `kept`."""
        group, device = joined.group, self.meter.device
        return SessionState(
            options=options, host=me.spec.host, member=me.member.member, rank=group.rank, members=group.members,
            generation=group.generation, device=device, watch=stopwatch(device), slowdown=slowdown,
            batches=loop.batches, steps_total=loop.steps_total, shares=joined.shares, balancer=joined.balancer,
            metrics=self.metrics, meter=self.meter, budget=self.budget, threads=self.threads, recorder=self.recorder,
            stop=me.stop, step=kept.step, progress=me.client, last_end=kept.last_end, resuming=group.generation > 0,
            changing=kept.changing, window=Window(() if group.rank == 0 else kept.rows),
            schedule=self.recorder.schedule, loop=loop, prepared=prepared,
        )  # fmt: skip
