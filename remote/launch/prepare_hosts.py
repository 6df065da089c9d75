"""What comes before a run or a measurement: hosts are looked over, then given all that they need there.

`remote.run` and `remote.calibrate` call `looked_over`, judge what it found, and call `supplied`; `remote.joining` has a
host `equipped`.

    >>> look = await looked_over(hosts, emit, ask)
    >>> cluster = await supplied(verbs, look.checked, emit, project=tree, data=folder)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from remote import containers, environment
from remote.check import CheckResult, check
from remote.cluster import Cluster, Host
from remote.data import folder_of, placed, push_data
from remote.errors import CheckFailed, HostError
from remote.everywhere import push_all
from remote.folder import Folder
from remote.hosts import Emit, Hosts, python_of
from remote.introduced import Ask, introduced, new_keys, nobody
from remote.push import Tree
from remote.verbs import Verbs
from remote.visit import Prepares


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """`began` and `checking` are times of the monotonic clock: before and after environments were made."""

    checked: CheckResult
    began: float
    checking: float


async def looked_over(hosts: Hosts, emit: Emit, ask: Ask = nobody, *, early: Prepares | None = None) -> Look:
    """The check, with environments made and images brought first. `ask` is asked about new host keys, then all is
    looked at anew.

    `early` makes further use of the conversations with those that have answered.

    That takes long, so none is made while a host can't be reached. Raises CheckFailed where one can't be made.
    """

    async def look() -> Look:
        began = time.monotonic()  # the last look: what the user took to answer does not count
        without: list[str] = []
        looked = containers.Looked()
        if any(host.requirements or host.runtime for host in hosts.cluster.hosts):
            reached = await hosts.connect(emit)
            if any(isinstance(outcome, HostError) for outcome in reached.values()):
                without = await environment.look(hosts, emit)
                looked = await containers.look(hosts, emit)
            else:
                await _made(hosts, emit)
        checking = time.monotonic()
        checked = await check(hosts, emit, early=early)
        found = environment.not_built(hosts.cluster, checked.findings, without)
        checked = replace(checked, findings=containers.judged(hosts.cluster, found, looked))
        return Look(checked=checked, began=began, checking=checking)

    return await introduced(look, lambda found: new_keys(found.checked.findings), ask)


async def supplied(
    verbs: Verbs, checked: CheckResult, emit: Emit, *, project: Tree | None = None, data: Folder | None = None
) -> Cluster:
    """Bring the trainer, the user's project and the data to every host: the cluster whose ranks find them.

    Raises CheckFailed where a host can't have them.
    """
    pythons = {name: probe.executable for name, probe in checked.probes.items()}
    unable = await push_all(verbs, checked.probes, emit, project) or await push_data(verbs.hosts, data, pythons, emit)
    if unable:
        raise CheckFailed([*checked.findings, *unable])
    return placed(verbs.hosts.cluster, data)


async def equipped(hosts: Hosts, name: str, emit: Emit) -> Host:
    """A host that is to join, with its environment or image and the data of `[data] push`.

    Raises CheckFailed, ConfigError.
    """
    await _made(hosts, emit, [name])
    host = hosts.named(name)
    data = await folder_of(hosts.cluster, emit)
    if unable := await push_data(hosts, data, {name: python_of(host)}, emit):
        raise CheckFailed(unable)
    return host


async def _made(hosts: Hosts, emit: Emit, names: Sequence[str] | None = None) -> None:
    """Have environments made and images brought. Raises CheckFailed where that failed."""
    failed = environment.findings(await environment.prepare(hosts, emit, names))
    failed += containers.findings(await containers.prepare(hosts, emit, names))
    if failed:
        raise CheckFailed(failed)
