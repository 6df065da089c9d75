"""What is done on every host of a run at once: push, start, stop. Each says how it goes, and which hosts failed.

`remote.session.session.Session` calls these, in this order; `Verbs` holds the hosts and the tree that is pushed.

    >>> await start_all(verbs, specs, probes, emit, early)
    {'box2': Unreachable('box2', 'the connection was lost', …)}
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from motley.remote.errors import Finding, HostError, Unreachable
from motley.remote.feed import Progress
from motley.remote.launch.prestart import Prestart
from motley.remote.preflight.probe import Probe
from motley.remote.provision.push_code import Tree, push
from motley.remote.rpc.verbs import StopAnswer, Verbs
from motley.trainer.contract.spec import Spec

Emit = Callable[[Progress], None]


async def push_all(verbs: Verbs, probes: Mapping[str, Probe], emit: Emit, project: Tree | None = None) -> list[Finding]:
    """Bring the trainer, and the user's project, to every host. Returns a finding for each that can't have them."""

    async def one(name: str, probe: Probe) -> Finding | None:
        try:
            connection = await verbs.hosts.get(name)
            for tree in (verbs.tree, *([project] if project is not None else [])):
                await push(connection, probe.executable, tree, emit, there=probe.code)
        except HostError as error:
            return Finding(name, "push", "error", error.cause, error.remedy)
        return None

    return [finding for finding in await asyncio.gather(*map(one, probes.keys(), probes.values())) if finding]


async def having(verbs: Verbs, run: str, names: Iterable[str]) -> list[str]:
    """The hosts that have a run of this name already. Raises the HostError of one that can't be asked."""
    asked = list(names)
    found = await asyncio.gather(*(verbs.has(name, run) for name in asked))
    return [name for name, has in zip(asked, found, strict=True) if has]


async def start_all(
    verbs: Verbs, specs: Sequence[Spec], probes: Mapping[str, Probe], emit: Emit, early: Prestart
) -> dict[str, HostError]:
    """Leave a supervisor on every host. Returns the hosts that failed; on some of those it may run all the same."""

    async def one(spec: Spec) -> HostError | None:
        probe = probes[spec.host]
        emit(Progress(host=spec.host, stage="start", text="starting ranks"))
        try:
            if not await early.supervise(spec):
                await verbs.supervise(spec, probe.executable, f"{probe.home}/.motley/runs/{spec.run}/{spec.host}")
        except HostError as error:
            emit(Progress(host=spec.host, stage="start", text=error.cause, done=True, failed=True))
            return error
        emit(Progress(host=spec.host, stage="start", text="ranks started", fraction=1.0, done=True))
        return None

    outcomes = await asyncio.gather(*map(one, specs))
    return {spec.host: error for spec, error in zip(specs, outcomes, strict=True) if error is not None}


async def stop_all(
    verbs: Verbs,
    run: str,
    names: Iterable[str],
    emit: Emit,
    give_back: Callable[[], Awaitable[object]],
    *,
    reason: str,
    bound_s: float,
) -> tuple[str, ...]:
    """End the run on the hosts. Returns those that did not answer within `bound_s`, or still have processes. Where no
    command can be run on them the hosts are given back, with all that runs there."""
    if not verbs.hosts.take_commands:
        await give_back()
        return ()

    async def one(name: str) -> bool:
        emit(Progress(host=name, stage="stop", text="stopping"))
        try:
            answer = await ask(name)
        except HostError as error:
            emit(Progress(host=name, stage="stop", text=error.cause, done=True, failed=True))
            return False
        text = f"stopped, left={answer.left}"
        emit(Progress(host=name, stage="stop", text=text, done=True, failed=answer.left > 0))
        return answer.left == 0

    async def ask(name: str) -> StopAnswer:
        try:
            return await verbs.stop(name, run, reason=reason, timeout_s=bound_s)
        except Unreachable:  # that connection, perhaps not the host: stopping twice does no harm
            return await verbs.stop(name, run, reason=reason, timeout_s=bound_s)

    asked = list(names)
    answers = await asyncio.gather(*map(one, asked))
    return tuple(name for name, ok in zip(asked, answers, strict=True) if not ok)
