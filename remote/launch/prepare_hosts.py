"""What comes before a run or a measurement: hosts are looked over, then given all that they need there.

`remote.session.session` and `remote.launch.calibrate` call `looked_over`, judge what it found, and call `supplied`;
`remote.session.join_host` has a host `equipped`.

    >>> look = await looked_over(hosts, emit, ask)
    >>> cluster = await supplied(verbs, look.checked, emit, project=tree, data=folder)
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CheckFailed, Finding, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts, python_of
from motley.remote.launch.all_hosts import push_all
from motley.remote.launch.placement import Knows, misfits, place, unknown
from motley.remote.placement import slurm_check
from motley.remote.placement.placement import in_the_way, lent, starts_runs
from motley.remote.preflight.check import CheckResult, check
from motley.remote.preflight.host_check import Prepares
from motley.remote.provision import container_images, data, packages, virtualenv
from motley.remote.provision.data import folder_of, placed, push_data
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.packages import Looked
from motley.remote.provision.project import find
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys, nobody
from motley.trainer.contract.spec import Member


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
        looks: list[Looked] = []
        if any(host.installs or host.runtime for host in hosts.cluster.hosts):
            reached = await hosts.connect(emit)
            if any(isinstance(outcome, HostError) for outcome in reached.values()):
                looks = await _packages(hosts, emit)
            else:
                await _made(hosts, emit)
        checking = time.monotonic()
        checked = await _check(hosts, emit, looks, early)
        return Look(checked=checked, began=began, checking=checking)

    return await introduced(look, lambda found: new_keys(found.checked.findings), ask)


async def supplied(
    verbs: Verbs,
    checked: CheckResult,
    emit: Emit,
    *,
    project: Tree | None = None,
    data: Folder | None = None,
    results: Folder | None = None,
) -> Cluster:
    """Bring the trainer, the user's project, the data and results to go on from to every host: the cluster whose ranks
    find them.

    Raises CheckFailed where a host can't have them.
    """
    pythons = {name: probe.executable for name, probe in checked.probes.items()}
    unable = await push_all(verbs, checked.probes, emit, project) or await push_data(verbs.hosts, data, pythons, emit)
    if unable := unable or await push_data(verbs.hosts, results, pythons, emit, what="the results to go on from"):
        raise CheckFailed([*checked.findings, *unable])
    return placed(verbs.hosts.cluster, data)


async def equipped(hosts: Hosts, name: str, emit: Emit) -> tuple[Host, Folder | None]:
    """A host that is to join, with its environment or image and the data of `[data] push`, which is given too.

    Raises CheckFailed, ConfigError.
    """
    await _made(hosts, emit, [name])
    host = hosts.named(name)
    data = await folder_of(hosts.cluster, emit)
    if unable := await push_data(hosts, data, {name: python_of(host)}, emit):
        raise CheckFailed(unable)
    return host, data


async def _made(hosts: Hosts, emit: Emit, names: Sequence[str] | None = None) -> None:
    """Have environments made and images brought. Raises CheckFailed where that failed."""
    failed = packages.findings(virtualenv.KIND, await virtualenv.prepare(hosts, emit, names))
    failed += packages.findings(container_images.KIND, await container_images.prepare(hosts, emit, names))
    if failed:
        raise CheckFailed(failed)


async def _packages(hosts: Hosts, emit: Emit) -> list[Looked]:
    """What of environments and images is there; nothing is made or brought."""
    return [await virtualenv.look(hosts, emit), await container_images.look(hosts, emit)]


async def _check(hosts: Hosts, emit: Emit, looks: Sequence[Looked], early: Prepares | None = None) -> CheckResult:
    checked = await check(hosts, emit, early=early)
    return replace(checked, findings=packages.judged(hosts.cluster, checked.findings, looks))


Further = Callable[[Hosts, CheckResult], Awaitable[Sequence[Finding]]]

CONNECT_S = 3.0  # of `motley check`, which is to be quick; a run is more patient


def members_of(cluster: Cluster, checked: CheckResult, knows: Knows = unknown) -> tuple[Member, ...]:
    """The ranks of a cluster that was checked. Raises CheckFailed with all findings when it can't train."""
    findings = list(checked.findings)
    members: tuple[Member, ...] = ()
    if checked.ok:
        members = place(cluster, checked.probes, knows)
        findings += misfits(cluster, members)
    if any(finding.level == "error" for finding in findings):
        raise CheckFailed(findings)
    return members


async def preflight(
    cluster: Cluster, emit: Emit, ask: Ask = nobody, *, further: Further | None = None, make: bool = False
) -> tuple[Finding, ...]:
    """`motley check`: the findings alone, connections opened for it and closed again.

    `ask` is asked about host keys that nobody knows yet; then the check is made anew. `further` has more to find on
    hosts that can train so far (`remote.launch.trial`). With `make` environments are made, and images brought.

    Raises ConfigError for a script, a task, a requirements file, a Dockerfile or a folder of data that is not there.
    """
    if cluster.has_project:
        await asyncio.to_thread(find, cluster)
    await asyncio.to_thread(data.check_there, cluster)
    if starts_runs(cluster):
        return await in_the_way(cluster, lambda text: emit(Progress(host=cluster.leader, stage="connect", text=text)))
    if cluster.slurm is not None and (refused := await slurm_check.look(cluster)):
        return tuple(refused)
    async with lent_for("check", cluster, emit) as there:
        return await _preflight(there, emit, ask, further, make)


@asynccontextmanager
async def lent_for(what: str, cluster: Cluster, emit: Emit) -> AsyncIterator[Cluster]:
    """The cluster with hosts that can be connected to: where they are nodes of jobs, those of a short one, `what`."""
    name = f"{what}-{secrets.token_hex(4)}"
    async with lent(
        cluster, name, lambda text: emit(Progress(host=cluster.leader, stage="connect", text=text))
    ) as there:
        yield there


async def _preflight(
    cluster: Cluster, emit: Emit, ask: Ask, further: Further | None, make: bool
) -> tuple[Finding, ...]:
    async with Hosts(cluster, CONNECT_S) as hosts:

        async def look() -> CheckResult:
            return await _check(hosts, emit, await _packages(hosts, emit))

        try:
            if make:
                checked = (await looked_over(hosts, emit, ask)).checked
            else:
                checked = await introduced(look, lambda found: new_keys(found.findings), ask)
        except CheckFailed as error:
            return error.findings
        if not checked.ok:
            return checked.findings
        found = (*checked.findings, *misfits(cluster, place(cluster, checked.probes)))
        if further is None or any(finding.level == "error" for finding in found):
            return found
        return (*found, *await further(hosts, checked))
