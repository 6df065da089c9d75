"""What is known before the first step: the shares a run starts with, and what rank 0 believes of each rank's speed.

From a profile each member brings its cost line; without one, perhaps a guess at its speed from the device's name.

    >>> first_shares(spec)          # a profile says that the second host takes three times as long
    (96, 32)
    >>> prior(spec.members[0]).known
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from motley.profiles.cost import CostModel
from motley.profiles.rebalance_proposal import propose
from motley.profiles.split_solver import equal_split, proportional_split, split
from motley.trainer.contract.spec import Member, Spec

PROFILE_STEPS = 8.0  # a profile counts for so many steps: it was measured, but on another day


def first_shares(spec: Spec) -> tuple[int, ...]:
    """Shares of the first step, in rank order. Raises ValueError (`SplitError`) when caps leave no room.

    The given ones; with `static` and none given, equal ones; else those that the profiles call for, a member without
    one counting as the average of the others; else in proportion to guessed speeds, when all are known.
    """
    total, given, members = spec.options.global_batch, spec.balance.shares, spec.members
    caps = [m.max_batch for m in members]
    if given:
        if len(given) != len(members):
            raise ValueError(f"balance.shares has {len(given)} entries, the run has {len(members)} ranks")
        return given
    if spec.balance.policy != "static":
        costs = _costs(members)
        if costs:
            return split(costs, total, caps=caps)
        speeds = [m.relative_speed for m in members if m.relative_speed]
        if len(speeds) == len(members):
            return proportional_split(speeds, total, caps=caps)
    return equal_split(total, len(members), caps=caps)


def with_room(members: Sequence[Member], total: int) -> list[Member]:
    """The members of a group, which have room for `total` samples together: where those that are left when others went
    have less by their `max_batch`, it is raised for all of them alike. Then `max_batch` bounds what a rank computes at
    once (`trainer.rank.job_setup`), no longer its share.

    >>> [one.max_batch for one in with_room([of_64, of_32], 120)]
    [80, 40]
    """
    caps = [m.max_batch for m in members if m.max_batch is not None]
    if not caps or len(caps) < len(members) or sum(caps) >= total:
        return list(members)
    return [replace(m, max_batch=-(-(m.max_batch or 0) * total // sum(caps))) for m in members]


def next_shares(spec: Spec, members: Sequence[Member], models: Sequence[CostModel]) -> tuple[int, ...]:
    """Shares of a group that is not the first, in rank order: what is known of the speeds decides, or what was given.

    Raises ValueError (`SplitError`) when caps leave no room.
    """
    total, caps = spec.options.global_batch, [m.max_batch for m in members]
    if spec.balance.policy == "static":
        given = dict(zip((m.member for m in spec.members), spec.balance.shares))
        usual = fmean(given.values()) if given else 0.0  # for those that came after the start
        wanted = [given.get(m.member, usual) for m in members]
        if any(wanted):
            return _in_proportion(wanted, total, caps)
        return equal_split(total, len(members), caps=caps)
    if any(model.known for model in models):
        return propose(models, (), total, caps=caps).shares
    return equal_split(total, len(members), caps=caps)


def _in_proportion(wanted: Sequence[float], total: int, caps: Sequence[int | None]) -> tuple[int, ...]:
    """As `proportional_split`, of numbers that may be 0: those get nothing, as long as the others have room."""
    some = [rank for rank, share in enumerate(wanted) if share]
    room = [caps[rank] for rank in some]
    if any(cap is None for cap in room) or sum(cap or 0 for cap in room) >= total:
        shares = iter(proportional_split([wanted[rank] for rank in some], total, caps=room))
        return tuple(next(shares) if share else 0 for share in wanted)
    return equal_split(total, len(wanted), caps=caps)


def prior(member: Member, batch: int) -> CostModel:
    """What to believe of a rank that starts with `batch` samples; nothing, when it has no profile."""
    if member.a_ms is None or member.c_ms is None:
        return CostModel()
    return CostModel.guess(member.a_ms, member.c_ms, max(batch, 1), PROFILE_STEPS)


def models_of(fits: Mapping[str, Any], members: Sequence[Member], shares: Sequence[int]) -> list[CostModel]:
    """What the balancer before this one knew of the members, in rank order; of others, what their profiles say."""
    models = fits.get("models", {})
    return [
        CostModel.from_dict(models[str(m.member)]) if str(m.member) in models else prior(m, share)
        for m, share in zip(members, shares)
    ]


def _costs(members: Sequence[Member]) -> list[tuple[float, float]]:
    """Every member's line; empty when none has a profile."""
    lines = [(m.a_ms, m.c_ms) if m.a_ms is not None and m.c_ms is not None else None for m in members]
    known = [line for line in lines if line is not None]
    if not known:
        return []
    average = (fmean(a for a, _ in known), fmean(c for _, c in known))
    return [average if line is None else line for line in lines]
