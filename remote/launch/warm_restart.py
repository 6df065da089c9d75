"""A warm restart: the hosts go on with a new run, and the processes there that have torch imported stay.

`why_cold` says from here what speaks against it; the hosts have a word too, before anything is ended
(`trainer.verbs.rerun`). Connections, the pushed code and what the check has found are those of the old run.

    >>> await rerun_all(verbs, "night", specs, emit, bound_s=45, begin=begin)
    Outcome(refused="box2: its environment has changed (HF_HOME)")
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import ConfigError, HostError
from motley.remote.feed import Progress
from motley.remote.launch.placement import misfits, next_specs
from motley.remote.placement.placement import is_placed
from motley.remote.provision.project import UserCode, project_of
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.spec import Spec


class Cold(Exception):
    """Why a run can't go on in the processes of another. Nothing has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a session that follows a run has for the one that takes its place."""

    run: str
    cluster: Cluster
    spec: Spec  # of the host that leads, as it was started
    verbs: Verbs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`refused`: why nothing was done, or empty. `failed`: hosts that said they could go on, and why they did not."""

    refused: str = ""
    failed: dict[str, str] = field(default_factory=dict)


async def offered(
    verbs: Verbs, run: str, cluster: Cluster, spec: Spec | None, *, leader: str, silent: Sequence[str]
) -> Offer:
    """The offer of a run that is under way; `spec` where it is known here, `silent` the hosts that are not heard.

    Raises Cold.
    """
    if is_placed(cluster):
        raise Cold("its hosts are those of a job, and the next run has a job of its own")
    if not verbs.hosts.all_here:
        raise Cold("it was started on another machine")
    if silent:
        raise Cold(f"{', '.join(silent)} can't be reached at the moment")
    try:
        return Offer(run=run, cluster=cluster, spec=spec or await verbs.spec(leader, run), verbs=verbs)
    except HostError as error:
        raise Cold(str(error)) from error


async def next_run(
    offer: Offer, cluster: Cluster, run: str, *, tree: str, before_s: float, resume: str | None
) -> list[Spec]:
    """The specs of a run in the processes of the one offered; `tree` is the hash of the code it is to have.

    `before_s` and `resume` as in `placement.next_specs`. Raises Cold.
    """
    if tree != offer.verbs.tree.hash:
        raise Cold("the code has changed")
    if why := why_cold(offer.cluster, cluster, offer.spec):
        raise Cold(why)
    user_code = await _user_code(cluster)
    if why := _why_not_there(user_code, offer.spec):
        raise Cold(why)
    token = secrets.token_hex(32)
    return next_specs(offer.spec, cluster, run, token=token, before_s=before_s, resume=resume, user_code=user_code)


async def _user_code(cluster: Cluster) -> UserCode | None:
    """What of it is the user's own, its files as they are now. Raises Cold."""
    try:
        _, user_code = await asyncio.to_thread(project_of, cluster)
    except ConfigError as error:
        raise Cold(str(error)) from error
    return user_code


def _why_not_there(now: UserCode | None, before: Spec) -> str:
    """Why the hosts of the run `before` lack what the user's own code `now` needs; empty when they do not."""
    if now is None or not now.tree:  # it comes with Motley
        return ""
    what = "task" if now.own_task is not None else "policy"
    if not before.project_tree or (now.own_task is not None and before.own_task is None):
        return f"your {what} is not on the hosts yet"
    if now.tree != before.project_tree:
        return f"your {what}'s files have changed"
    ours, theirs = now.own_task, before.own_task
    if ours is not None and theirs is not None and ours.parameters != theirs.parameters:
        return "[task] has changed"
    return ""


def why_cold(before: Cluster, now: Cluster, spec: Spec) -> str:
    """What in cluster.toml, or in the `spec` of the run that is on, keeps a new run from using its ranks' processes.

    Empty when nothing does.
    """
    if now.run.program is not None or spec.script is not None:
        return "a script is started anew each time"
    if {host.name for host in now.hosts} != {member.host for member in spec.members}:
        return "cluster.toml has other hosts"
    if (now.leader, now.coordinator_port) != (spec.leader, spec.port):
        return "another host leads, or at another port"
    if any(host.requirements for host in now.hosts):
        return "[environment] may have changed"
    if any(host.runtime for host in now.hosts):
        return "ranks in containers are started anew each time"
    if now.data.push is not None:
        return "the data may have changed"
    known = {host.name: _reached(host) for host in before.hosts}
    for host in now.hosts:
        there = tuple(member.device for member in spec.members if member.host == host.name)
        if known.get(host.name) != _reached(host):
            return f"{host.name} has changed in cluster.toml"
        if host.devices not in ("auto", there):
            return f"{host.name} is to use other devices"
    if findings := misfits(now, spec.members):
        return findings[0].cause
    return ""


def _reached(host: Host) -> Host:
    """What is behind a host's connection and in its processes: without what a run asks of it."""
    return dataclasses.replace(host, max_batch=None, devices="auto", speed=None, relative_speed=None)


def _told(answers: Mapping[str, str]) -> str:
    """What the hosts say, the same reason of several once; empty when none has one."""
    hosts: dict[str, list[str]] = {}
    for host, why in answers.items():
        if why:
            hosts.setdefault(why, []).append(host)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in hosts.items())


async def rerun_all(
    verbs: Verbs,
    run: str,
    specs: Sequence[Spec],
    emit: Callable[[Progress], None],
    *,
    bound_s: float,
    begin: Callable[[], None],
) -> Outcome:
    """Have the new run follow `run` on all hosts, or on none when one says no. `begin` is called once all can.

    Raises what `begin` raises: then nothing was done.
    """
    loop = asyncio.get_running_loop()
    ready: dict[str, asyncio.Future[str]] = {spec.host: loop.create_future() for spec in specs}
    go: asyncio.Future[bool] = loop.create_future()

    async def one(spec: Spec) -> str:
        host = spec.host
        emit(Progress(host=host, stage="start", text="asking whether its processes can stay"))
        try:
            async with verbs.rerun(run, spec, bound_s) as say:
                ready[host].set_result(await say())
                why = await say() if await go else ""
        except HostError as error:
            why = error.cause
            if not ready[host].done():
                ready[host].set_result(why)
        text = why or "ranks started, torch was imported already"
        if go.result():
            emit(Progress(host=host, stage="start", text=text, fraction=1.0, done=True, failed=bool(why)))
        return why

    tasks = {spec.host: asyncio.ensure_future(one(spec)) for spec in specs}
    try:
        answers = {host: await future for host, future in ready.items()}
        refused = _told(answers)
        if not refused:
            begin()
        go.set_result(not refused)
        said = {host: await task for host, task in tasks.items()}
    finally:
        if not go.done():
            go.set_result(False)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return Outcome(refused=refused, failed={} if refused else {host: why for host, why in said.items() if why})
