"""Which machine this is: what a run keeps of the host with `connect = "local"`, for those who look from elsewhere.

>>> machines_of(cluster)
{'desktop': 'f6a1…'}
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError

_FOR = b"motley: which machine a run began on"


def machine_id(root: Path = Path("/")) -> str:
    """64 hex digits out of `/etc/machine-id`, which itself is to go to no other machine (machine-id(5)); out of the
    host's name where there is none. Containers of one image may have the same."""
    try:
        own = (root / "etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        own = ""
    return hmac.new((own or socket.gethostname()).encode(), _FOR, hashlib.sha256).hexdigest()


def machines_of(cluster: Cluster) -> dict[str, str]:
    """The host that is this machine, and which one that is; empty where there is none."""
    return {host.name: machine_id() for host in cluster.hosts if host.way.only_one}


class Elsewhere(HostError):
    """A host that is the machine itself, where cluster.toml is used on another one and gives it no address."""

    check = "reachable"

    def __init__(self, host: str) -> None:
        cause = f'{host} is the machine itself (connect = "local"): watch from there, or give it an address'
        super().__init__(host, cause, "address in cluster.toml is where this machine reaches it over SSH.")


def elsewhere(
    cluster: Cluster, told: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, str], mine: str
) -> list[str]:
    """The hosts that are another machine than this one in a run. Pure.

    `told`: what each host that answers tells of the run, nothing where it has none of it (`trainer.verbs.status`);
    `recorded`: what is kept here of the run's machines; `mine`: this one's.
    """
    found = []
    for name in (host.name for host in cluster.hosts if host.way.only_one):
        own = told.get(name) or {}
        others = [table for other, table in told.items() if other != name]
        said = next((machine for table in (own, *others) if (machine := _machine(table, name))), recorded.get(name))
        unknown = said is None and not own and any(name in _members(table) for table in others)
        if unknown or said not in (None, mine):
            found.append(name)
    return found


def _machine(table: Mapping[str, Any], name: str) -> str | None:
    machines = _layout(table).get("machines")
    said = machines.get(name) if isinstance(machines, dict) else None
    return said if isinstance(said, str) else None


def _members(table: Mapping[str, Any]) -> set[str]:
    members = _layout(table).get("members")
    return {str(m.get("host")) for m in members if isinstance(m, dict)} if isinstance(members, list) else set()


def _layout(table: Mapping[str, Any]) -> Mapping[str, Any]:
    layout = table.get("layout")
    return layout if isinstance(layout, dict) else {}
