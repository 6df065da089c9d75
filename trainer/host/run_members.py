"""Who belongs to a run under way: `roll.json` in the run's folder on a host, once it is not as the spec says any more.

The master asks the host that leads to let a host in or to take one out (the verb `roll`); its coordinator looks at the
file and acts. The ranks get the roll with their next group and keep it on their own hosts, so whichever of them leads
later knows it too. Numbers of members are given out here and nowhere else, so no two of them have the same.

    >>> roll = admit(spec, Roll(), "box4", [Member(member=0, host="box4", local_rank=0, device="cpu")], term=FIRST)
    >>> [(m.member, m.host) for m in roll.added]
    [(3, 'box4')]
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import Term
from motley.trainer.host import unwritten
from motley.trainer.host.file_lock import locked

FILE = "roll.json"


def roll_of(folder: Path) -> Roll:
    """The newest that is known on this host."""
    newest = Roll()
    for table in unwritten.tables_of(folder / FILE):
        if (roll := Roll.from_table(table)).is_newer_than(newest):
            newest = roll
    return newest


def keep(folder: Path, roll: Roll, note: Callable[[str], object] | None = None) -> bool:
    """Keep a roll that is newer than the one that is known. Returns whether it was.

    With `note` a full disk is told there, once, and the roll holds in this process; else OSError is raised.
    """
    if not roll.is_newer_than(roll_of(folder)):
        return False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(
            *[OSError] * (note is not None)
        ):  # no room for the lock's file: nobody else can change the roll either
            stack.enter_context(alone(folder))
        if not roll.is_newer_than(roll_of(folder)):
            return False
        unwritten.keep(folder / FILE, roll.to_table(), note)
    return True


def hosts_of(spec: Spec, roll: Roll) -> tuple[str, ...]:
    """The hosts that take part, in the order of their members."""
    return tuple(dict.fromkeys(m.host for m in roll.members(spec.members) if m.host not in roll.dropped))


def admit(spec: Spec, roll: Roll, host: str, devices: Sequence[Member], *, term: Term) -> Roll:
    """The roll with a host in it: a new one, whose ranks get the next numbers, or one that was taken out.

    Raises ValueError for a host that takes part already.
    """
    known = roll.members(spec.members)
    if host in hosts_of(spec, roll):
        raise ValueError(f"{host} belongs to '{spec.run}' already")
    dropped = tuple(name for name in roll.dropped if name != host)
    added = roll.added
    if all(m.host != host for m in known):
        first = known[-1].member + 1
        added += tuple(dataclasses.replace(m, member=first + i, host=host) for i, m in enumerate(devices))
    return Roll(term=term, edition=roll.edition + 1, added=added, dropped=dropped)


def drop(spec: Spec, roll: Roll, host: str, *, term: Term, leader: str) -> Roll:
    """The roll without a host. Raises ValueError, with what to do instead, when it can't be taken out."""
    hosts, least = hosts_of(spec, roll), spec.elastic.min_hosts
    if host in roll.dropped:
        raise ValueError(f"{host} was taken out of '{spec.run}' already")
    if host not in hosts:
        raise ValueError(f"{host} does not take part in '{spec.run}'; its hosts are {', '.join(hosts)}")
    if host == leader:
        raise ValueError(
            f"{host} leads '{spec.run}': the others meet there, so it can't be taken out while the run goes on. "
            f"motley stop {spec.run}, then motley run --resume {spec.run} --only each of the others"
        )
    if len(hosts) <= least:
        raise ValueError(
            f"without {host} there are {len(hosts) - 1} hosts, and elastic.min_hosts = {least}: the run would wait. "
            "Bring another host in first (motley join)"
        )
    return Roll(term=term, edition=roll.edition + 1, added=roll.added, dropped=(*roll.dropped, host))


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Nobody else changes the roll here meanwhile."""
    return locked(folder / "roll.lock")
