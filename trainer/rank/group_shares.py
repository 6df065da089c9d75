"""The shares that a group starts with, and the balancer that goes on from what was known of its members.

Every rank calls it in the new group, whatever the loop is: a task's (`trainer.rank.job_setup`) or the user's own
(`trainer.api`).

    >>> balancer, shares = share_out(spec, with_group, known, kept, journal)
    >>> shares
    (96, 32)
"""

from __future__ import annotations

from collections.abc import Mapping

from motley.profiles.cost import CostModel
from motley.profiles.split_solver import equal_split
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.first_shares import first_shares, models_of, next_shares, with_room
from motley.trainer.balance.own_policy import Policy
from motley.trainer.balance.straggler_advice import StragglerAdviser
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.host.journal import Journal
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.training.window_exchange import agree


def share_out(
    spec: Spec,
    with_group: Group,
    known: Mapping[int, Member],
    kept: KeptState,
    journal: Journal,
    *,
    own: Policy | None,
    apart: bool = False,
) -> tuple[Balancer, tuple[int, ...]]:
    """The balancer of this group, and its shares in rank order, the same on all. A collective: every rank calls it.

    `known`: the members of the run by number, newcomers too. `own`: the user's own policy. Raises what a
    collective raises when a peer goes.
    """
    first, rank = with_group.generation == 0, with_group.rank
    mine = [known[m] for m in with_group.members]
    as_planned = first and len(mine) == len(spec.members)  # nobody was taken out before the first step
    members = mine if as_planned else with_room(mine, spec.options.global_batch)
    if rank == 0 and members != mine:
        caps = sum(m.max_batch or 0 for m in mine)
        text = (
            f"the max_batch of those that are left add up to {caps:,}, less than the batch of "
            f"{spec.options.global_batch:,}: each may be given more than its own"
        )
        journal.write("note", text, "warning")
    shares = first_shares(spec) if as_planned else equal_split(spec.options.global_batch, len(members))
    models: list[CostModel] = []
    changes, saved_s = 0, 0.0
    threads: list[int] = []
    if rank == 0 and not as_planned:
        fits = kept.balancer.fits() if kept.balancer and kept.balancer.leads else with_group.fits
        models = models_of(fits, members, shares)
        threads = [int(fits.get("threads", {}).get(str(m.member), 0)) for m in members]
        changes, saved_s = int(fits.get("changes", 0)), float(fits.get("saved_s", 0.0))
        shares = next_shares(spec, members, models)
    shares = agree(shares)
    balancer = Balancer(
        spec.balance, members, shares, journal, models=models, threads=threads, changes=changes,
        saved_s=saved_s, leads=rank == 0, apart=apart, own=own, adviser=StragglerAdviser.of(spec, with_group, journal),
    )  # fmt: skip
    return balancer, shares
