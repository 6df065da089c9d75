"""Torch is imported on each host while the others are still being checked and the run is made ready.

A host that has answered, and has our code, is told in the same conversation what environment the ranks will have; its
supervisor is forked at once and has torch imported. It gets the spec when all hosts are ready, or ends when there will
be none.

    >>> async with Prestart(verbs, hosts, "night") as early:
    ...     checked = await check(hosts, emit, early=early)
    ...     await start_all(verbs, specs, checked.probes, emit, early)
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType

from motley.remote.errors import OVERLOADED, CommandFailed
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.placement import devices, environment
from motley.remote.preflight.host_inspection import HostInspection
from motley.remote.preflight.probe import Probe
from motley.remote.rpc.verbs import SUPERVISE_S, Verbs, begun, tags_of
from motley.trainer.contract.spec import Spec


class Prestart:
    """Supervisors that wait for their spec. Leaving the block ends those that got none."""

    def __init__(self, verbs: Verbs, hosts: Hosts, run: str) -> None:
        self._verbs = verbs
        self._hosts = hosts
        self.code = verbs.tree.folder
        self._run = run
        self._held: dict[str, tuple[HostInspection, AsyncExitStack]] = {}
        self._ready: set[str] = set()  # of those: the check is over, nobody else speaks with them

    async def __aenter__(self) -> Prestart:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self._let_go(*held) for held in self._held.values()))

    async def prepare(self, probe: Probe, name: str, host: HostInspection, stack: AsyncExitStack) -> None:
        """A host has answered: start there, where our code is already. A script needs no torch of ours, nor does a host
        whose ranks run in containers.

        What is started is waited for, so the conversation is ended here then, not by `stack`.
        """
        cluster, named = self._hosts.cluster, self._hosts.named(name)
        needless = name in self._held or cluster.run.program is not None or named.runtime is not None
        if needless or self._verbs.tree.hash not in probe.code or not probe.torch:
            return
        given = {
            "run": self._run, "host": name, "env": environment(named), "threads": cluster.run.threads,
            "local_ranks": len(devices(named, probe)), "emulated": named.way.emulated,
        }  # fmt: skip
        tags = tags_of(self._run, name, f"{probe.home}/.motley/runs/{self._run}/{name}")
        code = f"{probe.home}/{self.code}"
        self._held[name] = host, stack.pop_all()
        await host.say(prepare={"code": code, "tags": tags, "given": given})

    def ready(self, name: str) -> None:
        """The host's check is over."""
        self._ready.add(name)

    async def supervise(self, spec: Spec) -> bool:
        """Hand the spec to a host's supervisor that waits for it. False when none does.

        Raises as `Verbs.supervise` does.
        """
        if spec.host not in self._held:
            return False
        host, stack = self._held.pop(spec.host)
        if spec.host not in self._ready:  # it was not to be waited for in the check
            await self._let_go(host, stack)
            return False
        async with stack:
            await host.say(begin=spec.to_json())
            try:
                answer = await asyncio.wait_for(host.heard(), SUPERVISE_S)
            except asyncio.TimeoutError as error:
                cause = f"the supervisor did not start within {SUPERVISE_S:g} s"
                raise CommandFailed(spec.host, cause, OVERLOADED) from error
        return bool(answer) and begun(spec.host, answer)

    async def _let_go(self, host: HostInspection, stack: AsyncExitStack) -> None:
        async with stack:
            await host.over(SUPERVISE_S)
