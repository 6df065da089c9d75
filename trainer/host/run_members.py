"""Who belongs to a run under way: `roll.json` in the run's folder on a host, once it is not as the spec says any more.

The master asks the host that leads to let a host in or to take one out (`change`); its coordinator looks at the file
and acts. The ranks get the roll with their next group and keep it on their own hosts, so whichever of them leads later
knows it too. Numbers of members are given out here and nowhere else, so no two of them have the same.

    >>> roll = admit(spec, Roll(), "box4", [Member(member=0, host="box4", local_rank=0, device="cpu")], term=0)
    >>> [(m.member, m.host) for m in roll.added]
    [(3, 'box4')]
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from trainer.attach import state_of
from trainer.folders import read_json, run_folder, write_json
from trainer.lead import lead_of
from trainer.spec import Member, Roll, Spec
from trainer.wire import END_STATES

FILE = "roll.json"


def roll_of(folder: Path) -> Roll:
    """The newest that is known on this host."""
    table = read_json(folder / FILE)
    return Roll.from_table(table) if table else Roll()


def keep(folder: Path, roll: Roll) -> bool:
    """Keep a roll that is newer than the one that is known. Returns whether it was."""
    with _alone(folder):
        if not roll.is_newer_than(roll_of(folder)):
            return False
        write_json(folder / FILE, roll.to_table())
    return True


def hosts_of(spec: Spec, roll: Roll) -> tuple[str, ...]:
    """The hosts that take part, in the order of their members."""
    return tuple(dict.fromkeys(m.host for m in roll.members(spec.members) if m.host not in roll.dropped))


def admit(spec: Spec, roll: Roll, host: str, devices: Sequence[Member], *, term: int) -> Roll:
    """The roll with a host in it: a new one, whose ranks get the next numbers, or one that was taken out.

    Raises ValueError for a host that takes part already.
    """
    known = roll.members(spec.members)
    if host in hosts_of(spec, roll):
        raise ValueError(f"{host} belongs to {spec.run} already")
    dropped = tuple(name for name in roll.dropped if name != host)
    added = roll.added
    if all(m.host != host for m in known):
        first = known[-1].member + 1
        added += tuple(dataclasses.replace(m, member=first + i, host=host) for i, m in enumerate(devices))
    return Roll(term=term, edition=roll.edition + 1, added=added, dropped=dropped)


def drop(spec: Spec, roll: Roll, host: str, *, term: int, leader: str) -> Roll:
    """The roll without a host. Raises ValueError, with what to do instead, when it can't be taken out."""
    hosts, least = hosts_of(spec, roll), spec.elastic.min_hosts
    if host in roll.dropped:
        raise ValueError(f"{host} was taken out of {spec.run} already")
    if host not in hosts:
        raise ValueError(f"{host} does not take part in {spec.run}; its hosts are {', '.join(hosts)}")
    if host == leader:
        raise ValueError(
            f"{host} leads {spec.run}: the others meet there, so it can't be taken out while the run goes on. "
            f"motley stop {spec.run}, then motley run --resume {spec.run} --only each of the others"
        )
    if len(hosts) <= least:
        raise ValueError(
            f"without {host} there are {len(hosts) - 1} hosts, and elastic.min_hosts = {least}: the run would wait. "
            "Bring another host in first (motley join)"
        )
    return Roll(term=term, edition=roll.edition + 1, added=roll.added, dropped=(*roll.dropped, host))


def change(run: str, host: str, stdin: BinaryIO) -> dict[str, Any]:
    """The verb `roll`: `stdin` is `{"admit": host, "devices": [members without a number of their own]}`, or
    `{"drop": host}`. Answers `{"roll": …}` as it is then, or `{"error": …}` when nothing was changed."""
    folder = run_folder(run, host)
    try:
        asked = json.loads(stdin.read())
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        lead, state = lead_of(folder, spec), state_of(folder).get("state")
        if spec.script is not None:
            raise ValueError(f"{run} runs a script, whose group can't change: motley stop {run}, then start it anew")
        if lead.leader != host:
            raise ValueError(f"{lead.leader} leads {run}, not {host}")
        if state in END_STATES:
            raise ValueError(f"{run} is {state}: nobody can join or leave it")
        with _alone(folder):
            known = roll_of(folder)
            if "drop" in asked:
                roll = drop(spec, known, str(asked["drop"]), term=lead.term, leader=host)
            else:
                devices = [Member(**m) for m in asked["devices"]]
                roll = admit(spec, known, str(asked["admit"]), devices, term=lead.term)
            write_json(folder / FILE, roll.to_table())
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"error": str(error)}
    return {"roll": roll.to_table()}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else changes the roll here meanwhile."""
    handle = os.open(folder / "roll.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
