"""The policies: how the global batch is shared out over the ranks, and why. Rank 0 asks; `profiles` does the sums.

* `static` keeps the shares of cluster.toml (equal ones by default).
* `proportional` gives each rank samples in proportion to its measured speed in the last window.
* `dynamic` fits every rank's cost line and takes the best split of them, when that gains more than noise explains.

>>> balancer.decide(step=5, rows=rows, shares=(64, 64))
(96, 32)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from statistics import median
from typing import Any

from profiles.cost import CostModel
from profiles.decide import Proposal, propose
from profiles.split import proportional_split
from trainer.advice import Adviser
from trainer.exchange import Row
from trainer.journal import Journal
from trainer.spec import BalanceOptions, Member
from trainer.start import prior

CALM_STEPS, CALM_MOVES = 100, 2  # so many moves in so many steps are little enough to ask for less proof
SETTLING_STEPS = 30


class Balancer:
    """Keeps what rank 0 knows of every rank's speed, decides, and journals each decision with what came of it."""

    def __init__(
        self,
        options: BalanceOptions,
        members: Sequence[Member],
        shares: Sequence[int],
        journal: Journal,
        *,
        models: Sequence[CostModel] = (),
        changes: int = 0,
        leads: bool = True,
    ) -> None:
        """`shares`: those of the first step; `models`: what is known already, in rank order."""
        self.window = options.window
        self.dynamic = options.policy != "static" and len(members) > 1
        self.changes = changes
        self.leads = leads  # it is rank 0's, and has seen everybody's figures
        self._options = options
        self._total = sum(shares)
        self._before = tuple(shares)  # the shares before the last change
        self._journal = journal
        self._caps = [m.max_batch for m in members]
        self._names = _names(members)
        self._members = members
        self._models = list(models) or [prior(m, share) for m, share in zip(members, shares)]
        self._adviser = Adviser(members, self._total, journal)
        self._open: tuple[int, float] | None = None  # step and prediction of the decision not yet checked
        self._moved_at: deque[int] = deque(maxlen=CALM_MOVES)  # steps of the last moves after settling
        self._warm = False

    def fits(self) -> dict[str, Any]:
        """What is known of the speeds, for the balancer of a group that follows this one: plain numbers."""
        models = {str(m.member): model.as_dict() for m, model in zip(self._members, self._models) if model.known}
        return {"changes": self.changes, "models": models}

    def decide(
        self, step: int, rows: Sequence[Sequence[Row]], shares: tuple[int, ...], *, last: bool = False
    ) -> tuple[int, ...]:
        """The shares once `step` steps are done. `rows`: each rank's steps since the last call, by rank.

        The first of them may still have had the shares before the last change: a decision takes its time to be heard.
        """
        if not self._warm:  # the first step also builds buckets, caches and kernels
            rows, self._warm = [ranks[1:] for ranks in rows], True
        window = [_full_steps(ranks, share) for ranks, share in zip(rows, shares)]
        self._realise(window)
        if last or not all(window):
            return shares
        for model, ranks, share, share_before in zip(self._models, rows, shares, self._before):
            for batch, steps in groupby(_full_steps(ranks, share, share_before), key=lambda row: row.batch):
                model.observe(batch, [r.busy_ms for r in steps])
        self._adviser.look(rows, shares, self._models)
        if not self.dynamic:
            return shares
        proposal = self._propose(step, window, shares)
        if not proposal.moves:
            return shares
        self.changes += 1
        if step > SETTLING_STEPS:
            self._moved_at.append(step)
        predicted_ms = proposal.predicted_ms
        self._journal.write(
            "decision",
            f"{_moves(self._names, shares, proposal.shares)}: {proposal.why}",
            step=step + 1, before=shares, after=proposal.shares, why=proposal.why,
            current_ms=proposal.current_ms, predicted_ms=predicted_ms, noise_ms=proposal.noise_ms,
        )  # fmt: skip
        self._open = (step + 1, predicted_ms) if predicted_ms is not None else None
        self._before = shares
        return proposal.shares

    def _propose(self, step: int, window: list[list[Row]], shares: tuple[int, ...]) -> Proposal:
        if self._options.policy == "dynamic":
            return propose(
                self._models, shares, self._total,
                caps=self._caps, min_gain=self._options.min_gain, names=self._names,
                eager=sum(moved > step - CALM_STEPS for moved in self._moved_at) < CALM_MOVES,
            )  # fmt: skip
        per_sample = [median(r.busy_ms for r in ranks) / max(1, ranks[0].batch) for ranks in window]
        split = proportional_split([1 / max(ms, 1e-6) for ms in per_sample], self._total, caps=self._caps)
        now = max(ms * b for ms, b in zip(per_sample, shares))
        then = max(ms * b for ms, b in zip(per_sample, split))
        slowest = max(range(len(shares)), key=lambda i: per_sample[i])
        return Proposal(
            moves=now - then > self._options.min_gain * now,
            shares=split,
            current_ms=now,
            predicted_ms=then,
            noise_ms=None,
            why=f"{self._names[slowest]} takes {per_sample[slowest]:.3g} ms a sample, the most",
        )

    def _realise(self, window: list[list[Row]]) -> None:
        """What the last decision brought: how long the slowest rank is busy, as it was predicted."""
        if self._open is None or not all(window):
            return
        step, predicted_ms = self._open
        self._open = None
        realised_ms = max(median(r.busy_ms for r in ranks) for ranks in window)
        self._journal.write(
            "realised",
            f"since step {step} the slowest rank is busy for {realised_ms:.0f} ms; predicted: {predicted_ms:.0f}",
            step=step, predicted_ms=predicted_ms, realised_ms=realised_ms,
        )  # fmt: skip


def _full_steps(rows: Sequence[Row], *shares: int) -> list[Row]:
    """Without disturbed steps, and without the smaller ones at the end of an epoch unless there are no others."""
    sound = [r for r in rows if isfinite(r.busy_ms)]
    return [r for r in sound if r.batch in shares] or sound


def _names(members: Sequence[Member]) -> list[str]:
    hosts = [m.host for m in members]
    return [m.host if hosts.count(m.host) == 1 else f"{m.host}:{m.local_rank}" for m in members]


def _moves(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> str:
    changed = [f"{n} {b}→{a}" for n, b, a in zip(names, before, after) if a != b]
    return ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
