"""Nodes that have nothing of a run which is under way in their job: each is equipped and checked, and gets our code and
the user's. What it is to do there is its spec, which the caller sends. One that can't have it costs the others nothing.

    >>> specs, failed = await specs_of(verbs, "night", folder, theirs, ["fast-2"], knows=knows, emit=emit)
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Sequence
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.errors import CheckFailed, Finding, HostError, UsageError
from motley.remote.launch.all_hosts import Emit, push_all
from motley.remote.launch.placement import Knows, joining_spec, place
from motley.remote.launch.prepare_hosts import equipped
from motley.remote.preflight.check import check
from motley.remote.preflight.probe import Probe
from motley.remote.provision.data import placed
from motley.remote.provision.project import project_of
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.join_host import numbered
from motley.remote.session.own_run import check_same, own_run
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST

Failed = dict[str, Exception]  # by host, why it can't have its part


async def specs_of(
    verbs: Verbs, run: str, folder: Path, theirs: Spec | None, lacking: Sequence[str], *, knows: Knows, emit: Emit
) -> tuple[dict[str, Spec], Failed]:
    """By host: what it executes comes from this machine, with the experiment in `folder`; who takes part from `theirs`,
    that of a node which has one. And the hosts that can't have theirs.

    Raises a MotleyError or a ValueError for what holds for all of them.
    """
    hosts = verbs.hosts
    cluster = hosts.cluster
    own = own_run(cluster, folder)
    project, user_code = await asyncio.to_thread(project_of, own)
    failed: Failed = {}
    data = None
    for name in lacking:
        try:
            _, data = await equipped(hosts, name, emit)
        except (CheckFailed, HostError) as error:
            failed[name] = error
    left = [name for name in lacking if name not in failed]
    if not left:
        return {}, failed
    if theirs is not None:
        check_same(own, theirs, user_code=user_code, folder=data)
    part = dataclasses.replace(
        cluster, hosts=tuple(host for host in cluster.hosts if host.name in {cluster.leader, *left})
    )
    checked = await check(hosts, emit, part, joins=run)
    failed |= by_host([one for one in checked.findings if one.level == "error" and one.host in left])
    probes = {name: checked.probes[name] for name in left if name not in failed}
    failed |= by_host(await push_all(verbs, probes, emit, project))
    probes = {name: probe for name, probe in probes.items() if name not in failed}
    if theirs is None and failed:  # all are needed: nobody else knows who takes part
        raise next(iter(failed.values()))
    members, unlike = members_of(theirs, own, probes, knows)
    failed |= unlike
    address = hosts.named(cluster.leader).address
    port = theirs.port if theirs is not None else own.coordinator_port
    lead = Lead(term=FIRST, leader=cluster.leader, address=address, port=port, hosts=())
    token = theirs.token if theirs is not None else secrets.token_hex(32)
    specs = {
        name: joining_spec(
            placed(own, data), run, hosts.named(name), members, lead, token=token, user_code=user_code,
            python=probe.executable, container=hosts.container(name),
        )
        for name, probe in probes.items()
        if name not in failed
    }  # fmt: skip
    return specs, failed


def members_of(
    theirs: Spec | None, own: Cluster, probes: dict[str, Probe], knows: Knows
) -> tuple[tuple[Member, ...], Failed]:
    """All of the run, and the nodes that have other devices than the one before it. Raises UsageError where nobody
    knows who takes part."""
    if theirs is None and {host.name for host in own.hosts} != set(probes):
        raise UsageError("no node of the job has any of it")
    if theirs is None:
        return place(own, probes, knows), {}
    members = theirs.members
    failed: Failed = {}
    for host in own.hosts:
        if host.name in probes:
            alone = dataclasses.replace(own, leader=host.name, hosts=(host,))
            try:
                members = numbered(members, host.name, place(alone, probes, knows))
            except ValueError as error:
                failed[host.name] = error
    return members, failed


def by_host(findings: Sequence[Finding]) -> Failed:
    """
    >>> list(by_host([Finding("fast-2", "push", "error", "the disk is full", "Make room.")]))
    ['fast-2']
    """
    hosts = dict.fromkeys(finding.host for finding in findings)
    return {host: CheckFailed([finding for finding in findings if finding.host == host]) for host in hosts}
