"""The policies: how the global batch is shared out over the ranks, and why. Rank 0 asks; `profiles` does the sums.

* `static` keeps the shares of cluster.toml (equal ones by default).
* `proportional` gives each rank samples in proportion to its measured speed in the last window.
* `dynamic` fits every rank's cost line and takes the best split of them, when that gains more than noise explains.
* a policy of the user's own is asked with the fitted costs (`trainer.balance.own_policy`).

>>> balancer.decide(step=5, rows=rows, shares=(64, 64))
(96, 32)

Where a task says what its samples cost, shares are proportions of a step's work, counted in samples of mean cost, and
so is what is fitted: `a + c w` for a rank whose samples of a step come to w. They come to another w in each step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from statistics import fmean, median
from typing import Any

from motley.profiles.cost import CostModel
from motley.profiles.decision_record import DecisionRecord
from motley.profiles.rebalance_proposal import Proposal, propose, step_ms
from motley.profiles.split_solver import equal_split, proportional_split
from motley.trainer.balance.first_shares import prior
from motley.trainer.balance.gpu_advice import GpuAdviser
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.balance.own_policy import Policy
from motley.trainer.balance.step_times import StepTimes
from motley.trainer.balance.straggler_advice import StragglerAdviser
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.host.journal import Journal

CALM_STEPS, CALM_MOVES = 100, 2  # so many moves in so many steps are little enough to ask for less proof
SETTLING_STEPS = 30
REALISED_STEPS = 8  # that a decision is judged by


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
        threads: Sequence[int] = (),
        changes: int = 0,
        saved_s: float = 0.0,
        leads: bool = True,
        adviser: StragglerAdviser | None = None,
        apart: bool = False,
        own: Policy | None = None,
    ) -> None:
        """`shares`: those of the first step; `models`, `changes`, `saved_s`: what is known already, in rank order;
        `threads`: that each rank computed with as `models` have it, 0 where that is not known.

        `apart`: ranks wait for each other only at the end of a window (local SGD). `own`: with such a policy.
        """
        self.window = options.window
        self.dynamic = options.policy != "static" and len(members) > 1
        self.changes = changes
        self.leads = leads  # it is rank 0's, and has seen everybody's figures
        self.gain: float | None = None  # with equal shares a step takes so many times as long, by the fits: `_compare`
        self.saved_s = saved_s  # against equal shares, since the run began
        self._options = options
        self._total = sum(shares)
        self._before = tuple(shares)  # the shares before the last change
        self._journal = journal
        self.caps = [m.max_batch for m in members]  # the most samples of a step that each may be given
        self._names = _names(members)
        self._members = members
        self._models = list(models) or [prior(m, share) for m, share in zip(members, shares)]
        self._threads = list(threads) or [0] * len(members)
        self._own = own
        self._adviser = adviser or StragglerAdviser(members, self._total, journal)
        self._gpu_adviser = GpuAdviser(members, self._total, journal)
        self._times = StepTimes(len(members), apart=apart)
        self._record = DecisionRecord()
        self._moved_at: deque[int] = deque(maxlen=CALM_MOVES)  # steps of the last moves after settling
        self._warm = False

    def fits(self) -> dict[str, Any]:
        """What is known of the speeds, for the balancer of a group that follows this one: plain numbers."""
        models = {str(m.member): model.as_dict() for m, model in zip(self._members, self._models) if model.known}
        threads = {str(m.member): count for m, count in zip(self._members, self._threads) if count}
        return {"changes": self.changes, "saved_s": self.saved_s, "models": models, "threads": threads}

    def decide(
        self, step: int, rows: Sequence[Sequence[MeasuredStep]], shares: tuple[int, ...], *, last: bool = False
    ) -> tuple[int, ...]:
        """The shares once `step` steps are done. `rows`: each rank's steps since the last call, by rank.

        The first of them may still have had the shares before the last change: a decision takes its time to be heard.
        """
        if not self._warm:  # the first step also builds buckets, caches and kernels
            rows, self._warm = [ranks[1:] for ranks in rows], True
        window = [_full_steps(ranks, share) for ranks, share in zip(rows, shares)]
        self._forget_other_threads(rows)
        for model, ranks, share, share_before in zip(self._models, rows, shares, self._before):
            full = _full_steps(ranks, share, share_before)
            if any(r.part is not None for r in full):
                model.observe_varied([(r.work, r.busy_ms) for r in full])
                continue
            for batch, steps in groupby(full, key=lambda row: row.batch):
                model.observe(batch, [r.busy_ms for r in steps])
        self._times.take(rows, self._models, shares, self._total)
        self._compare(shares, rows)
        self._realise(last=last)
        if last or not all(window):
            return shares
        self._adviser.look(rows, self._models)
        if not self._adviser.has_said:
            self._gpu_adviser.look(rows)
        if not self.dynamic:
            return shares
        proposal = self._propose(step, window, shares)
        if not proposal.moves:
            return shares
        self._realise(last=True)
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
        if predicted_ms is not None and proposal.current_ms is not None:
            self._record.open(step=step + 1, current_ms=proposal.current_ms, predicted_ms=predicted_ms)
        self._times.new_shares()
        self._before = shares
        return proposal.shares

    def _forget_other_threads(self, rows: Sequence[Sequence[MeasuredStep]]) -> None:
        """What is known of a rank's cost holds for the number of threads that it was measured with."""
        for rank, ranks in enumerate(rows):
            counts = [r.threads for r in ranks if isfinite(r.busy_ms) and r.threads]
            if counts and self._threads[rank] not in (0, counts[-1]):
                self._models[rank] = CostModel()
            self._threads[rank] = counts[-1] if counts else self._threads[rank]

    def _compare(self, shares: tuple[int, ...], rows: Sequence[Sequence[MeasuredStep]]) -> None:
        """With equal shares, as the fits have it: the same ranks, the same communication. Nothing is said before all of
        them have had shares of about that size.

        Where samples differ in what they cost, the newest steps are compared, as they were shared out to whole samples,
        with equal parts of their work. Equal numbers of samples would take longer still: some rank has the long ones.
        """
        equal = equal_split(self._total, len(shares), caps=self.caps)
        if len(shares) < 2 or not all(model.seen_near(share) for model, share in zip(self._models, equal)):
            return
        scatter, rest_ms = self._times.scatter, self._times.rest_ms

        def time_of(split: Sequence[float]) -> float:
            return step_ms(self._models, split, scatter, rest_ms)

        if any(ranks and ranks[0].part is not None for ranks in rows):
            works = self._times.works
            if not works:
                return
            equal_ms = fmean(time_of([sum(w) * e / self._total for e in equal]) for w in works)
            now_ms = fmean(time_of(w) for w in works)
        else:
            equal_ms, now_ms = time_of(equal), time_of(shares)
        if now_ms > 0:
            self.gain = equal_ms / now_ms
            self.saved_s += len(rows[0]) * (equal_ms - now_ms) / 1000

    def _propose(self, step: int, window: list[list[MeasuredStep]], shares: tuple[int, ...]) -> Proposal:
        scatter, rest_ms = self._times.scatter, self._times.rest_ms
        if self._options.policy == "dynamic":
            return propose(
                self._models, shares, self._total, caps=self.caps, names=self._names, rest_ms=rest_ms,
                scatter=scatter, min_gain=self._options.min_gain,
                eager=sum(moved > step - CALM_STEPS for moved in self._moved_at) < CALM_MOVES,
                doubt=self._record.doubt(step),
            )  # fmt: skip
        if self._own is not None:
            return self._own.propose(
                self._members, self._models, shares, scatter=scatter, rest_ms=rest_ms, journal=self._journal
            )
        per_sample = [_ms_per_sample(ranks) for ranks in window]
        split = proportional_split([1 / max(ms, 1e-6) for ms in per_sample], self._total, caps=self.caps)
        now = max(ms * b for ms, b in zip(per_sample, shares))
        then = max(ms * b for ms, b in zip(per_sample, split))
        slowest = max(range(len(shares)), key=lambda i: per_sample[i])
        return Proposal(
            moves=now - then > self._options.min_gain * (now + rest_ms),
            shares=split,
            current_ms=now + rest_ms,
            predicted_ms=then + rest_ms,
            noise_ms=None,
            why=f"{self._names[slowest]} takes {per_sample[slowest]:.3g} ms a sample, the most",
        )

    def _realise(self, *, last: bool) -> None:
        """What the last decision brought, once enough steps had its shares; at the `last` moment, what there is."""
        after = self._times.after
        if not self._record.is_open or len(after) < (1 if last else REALISED_STEPS):
            return
        outcome = self._record.close(before_ms=self._times.before_ms, realised_ms=median(after))
        predicted_ms, realised_ms = outcome.predicted_ms, outcome.realised_ms
        self._journal.write(
            "realised",
            f"since step {outcome.step} a step takes {realised_ms:.0f} ms; predicted: {predicted_ms:.0f}",
            step=outcome.step, before_ms=outcome.before_ms, predicted_ms=predicted_ms, realised_ms=realised_ms,
        )  # fmt: skip


def _full_steps(rows: Sequence[MeasuredStep], *shares: int) -> list[MeasuredStep]:
    """Without disturbed steps, and without the smaller ones at the end of an epoch unless there are no others."""
    sound = [r for r in rows if isfinite(r.busy_ms)]
    return [r for r in sound if r.share in shares] or sound


def _ms_per_sample(rows: Sequence[MeasuredStep]) -> float:
    """Of the steps of one rank, whatever its share; of samples of mean cost, where they differ."""
    if rows[0].part is None:
        return median(r.busy_ms for r in rows) / max(1, rows[0].batch)
    return median(r.busy_ms / r.work if r.work else r.busy_ms for r in rows)


def _names(members: Sequence[Member]) -> list[str]:
    hosts = [m.host for m in members]
    return [m.host if hosts.count(m.host) == 1 else f"{m.host}:{m.local_rank}" for m in members]


def _moves(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> str:
    changed = [f"{n} {b}→{a}" for n, b, a in zip(names, before, after) if a != b]
    return ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
