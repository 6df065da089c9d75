"""Who leads a run now: `lead.json` in the run's folder on a host, once it is not the leader of the spec any more.

The master writes it on every host that it reaches when the leader's host is gone; it also follows a coordinator that
was killed. Each change has a higher *term*. Only what belongs to the highest term counts: a former leader that comes
back finds the newer one on its disk, lets go of its own coordinator, and its ranks discard what they learned alone.

    >>> lead_of(folder, spec)
    Lead(term=0, leader='box1', address='10.0.0.1', port=29500, hosts=('box1', 'box2', 'box3'))
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trainer.folders import read_json, write_json
from trainer.spec import Lead, Spec

FILE = "lead.json"


def lead_of(folder: Path, spec: Spec) -> Lead:
    """The newest that is known on this host."""
    table = read_json(folder / FILE)
    if table:
        return Lead.from_table(table)
    hosts = tuple(dict.fromkeys(m.host for m in spec.members))
    return Lead(term=spec.term, leader=spec.leader, address=spec.leader_address, port=spec.port, hosts=hosts)


def follow(folder: Path, spec: Spec, lead: Lead) -> bool:
    """Keep a lead of a higher term than the one that is known. Returns whether it was."""
    if lead.term <= lead_of(folder, spec).term:
        return False
    write_json(folder / FILE, dataclasses.asdict(lead))
    return True
