"""Who leads a run now: `lead.json` in the run's folder on a host, once it is not the leader of the spec any more.

The master writes it on every host that it reaches when the leader's host is gone; it also follows a coordinator that
was killed. Each change has a higher *term* (`trainer.contract.term`). Only what belongs to the highest one counts: a
former leader that comes back finds the newer one on its disk, lets go of its own coordinator, and its ranks discard
what they learned alone.

    >>> lead_of(folder, spec)
    Lead(term=Term(named=0, restarts=0), leader='box1', address='10.0.0.1', port=29500, hosts=('box1', 'box2'))
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Spec
from motley.trainer.host import unwritten

FILE = "lead.json"


def lead_of(folder: Path, spec: Spec) -> Lead:
    """The newest that is known on this host. A file that makes no sense tells of none."""
    known = []
    for table in unwritten.tables_of(folder / FILE):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            known.append(Lead.from_table(table))
    if known:
        return max(known, key=lambda lead: lead.term)
    hosts = tuple(dict.fromkeys(m.host for m in spec.members))
    return Lead(term=spec.term, leader=spec.leader, address=spec.leader_address, port=spec.port, hosts=hosts)


def follow(folder: Path, spec: Spec, lead: Lead, note: Callable[[str], object] | None = None) -> bool:
    """Keep a lead of a higher term than the one that is known. Returns whether it was.

    With `note` a full disk is told there, and the lead holds in this process; else OSError is raised.
    """
    if lead.term <= lead_of(folder, spec).term:
        return False
    unwritten.keep(folder / FILE, dataclasses.asdict(lead), note)
    return True


def restarted(lead: Lead, hosts: Sequence[str]) -> Lead:
    """The same leader with another coordinator, which expects all `hosts` that take part by now."""
    keepers = lead.keepers or lead.hosts
    return dataclasses.replace(lead, term=lead.term.restarted(), hosts=tuple(hosts), keepers=keepers)
