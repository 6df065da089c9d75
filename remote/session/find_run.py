"""A run, found on the hosts alone: who takes part and who leads, without any file of this machine but cluster.toml.

`remote.session.session.Session.attach` calls it once the hosts are connected, or known not to answer.

    >>> layout, lead = await find(verbs, await hosts.connect(emit), "night", warn)
    >>> layout.leader
    'box1'
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from motley.remote.errors import HostError, UsageError
from motley.remote.feed import Layout
from motley.remote.hosts.pool import Outcome
from motley.remote.hosts.this_machine import Elsewhere, elsewhere, machine_id
from motley.remote.launch.placement import layout_of
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.placed.pods_start import laid_out
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.term import FIRST
from motley.trainer.contract.wire import END_STATES


async def find(
    verbs: Verbs,
    outcomes: Mapping[str, Outcome],
    run: str,
    warn: Callable[[str], None],
    recorded: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Layout, Lead | None]:
    """The run, and who leads it when that is not the host it was started with. A host that is the machine itself, and
    in this run another one than this, is reached over SSH from then on; `recorded`: what is kept here of such.

    Raises UsageError when no host that answers knows the run, or when it can't be followed from here, Elsewhere when
    the only one that may know it is another machine. Hosts on which nothing can be run are taken for those of
    cluster.toml.
    """
    if not verbs.hosts.take_commands:
        return laid_out(verbs.hosts.cluster, run), None
    answers = await asyncio.gather(
        *(_ask(verbs, name, run, outcome, warn) for name, outcome in outcomes.items()),
    )
    tables = {name: answer for name, answer in zip(outcomes, answers, strict=True) if not isinstance(answer, HostError)}
    for name in elsewhere(verbs.hosts.cluster, tables, recorded, machine_id()):
        await verbs.send_away(name)
        tables.pop(name, None)
        answer = await _ask(verbs, name, run, None, warn)
        if not isinstance(answer, HostError):
            tables[name] = answer
    known = {name: table for name, table in tables.items() if table}
    if not known and verbs.hosts.away:
        raise verbs.hosts.away[0]
    if not known:
        silent = [name for name in outcomes if name not in tables]
        extra = f"; no answer from {', '.join(silent)}" if silent else ""
        raise UsageError(f"no host knows a run named '{run}'{extra}: `motley status` lists what there is")
    leads = {name: _lead(table) for name, table in known.items()}
    newest = max(known, key=lambda name: lead.term if (lead := leads[name]) else FIRST)
    layout, lead = layout_of(known[max(known, key=lambda name: _edition(known[name]))]), leads[newest]
    layout = dataclasses.replace(layout, leader=layout_of(known[newest]).leader)
    if unknown := [name for name in dict.fromkeys(rank.host for rank in layout.ranks) if name not in outcomes]:
        raise UsageError(f"'{run}' also runs on {', '.join(unknown)}, which this cluster.toml does not have")
    over = all(table.get("state") in END_STATES for table in known.values())
    layout = dataclasses.replace(layout, over=over and len(tables) == len(outcomes))
    if over and layout.leader in tables and layout.leader not in known:
        raise UsageError(f"'{run}' was never started on {layout.leader}, which leads it: there is nothing to follow")
    return layout, lead


def _lead(table: Mapping[str, Any]) -> Lead | None:
    """What the host knows of a leader that took another's place; None when there was no need."""
    try:
        lead = Lead.from_table(table["lead"])
    except (KeyError, TypeError, ValueError):
        return None
    return lead if lead.term > FIRST else None


def _edition(table: Mapping[str, Any]) -> list[int]:
    """How new what the host knows of the members is."""
    layout = table.get("layout")
    edition = layout.get("edition") if isinstance(layout, dict) else None
    return edition if isinstance(edition, list) and all(type(part) is int for part in edition) else []


async def _ask(
    verbs: Verbs, name: str, run: str, outcome: Outcome | None, warn: Callable[[str], None]
) -> dict[str, Any] | HostError:
    """What the host says of the run; empty when it does not know it."""
    if isinstance(outcome, HostError):
        return outcome
    try:
        runs = await verbs.status(name)
    except HostError as error:
        warn(error.cause if isinstance(error, Elsewhere) else f"{name}: {error.cause}")
        return error
    return next((table for table in runs if table.get("run") == run), {})
