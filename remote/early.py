"""Torch is imported on each host while the others are still being checked and the run is made ready.

A host whose check has come back, and that has our code, is told what environment the ranks will have; its supervisor
starts at once and has torch imported. It gets the spec when all hosts are ready, or ends when there will be none.

    >>> async with Early(verbs, hosts, "night") as early:
    ...     checked = await check(hosts, emit, probed=early.begin)
    ...     await start_all(verbs, specs, checked.probes, emit, early)
"""

from __future__ import annotations

import asyncio
import json
from types import TracebackType

from remote.connection import Result
from remote.errors import CommandFailed, HostError
from remote.hosts import Hosts
from remote.placement import devices, environment
from remote.probe import Probe
from remote.verbs import SUPERVISE_S, Verbs, started, supervise_argv
from trainer.spec import Spec


class Early:
    """Supervisors that wait for their spec. Leaving the block ends those that got none."""

    def __init__(self, verbs: Verbs, hosts: Hosts, run: str) -> None:
        self._verbs = verbs
        self._hosts = hosts
        self._run = run
        self._specs: dict[str, asyncio.Future[Spec | None]] = {}
        self._tasks: dict[str, asyncio.Task[Result | None]] = {}

    async def __aenter__(self) -> Early:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spec in self._specs.values():
            if not spec.done():
                spec.set_result(None)
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=SUPERVISE_S)

    def begin(self, probe: Probe, name: str) -> None:
        """A host has answered: start there, where our code is already. A script needs no torch of ours."""
        asked = name in self._tasks or self._hosts.cluster.run.script is not None
        asked = asked or self._hosts.named(name).runtime is not None  # nor does a host whose ranks run in containers
        if not asked and self._verbs.tree.hash in probe.code and probe.torch:
            self._specs[name] = asyncio.get_running_loop().create_future()
            self._tasks[name] = asyncio.ensure_future(self._hold(name, probe, self._specs[name]))

    async def supervise(self, spec: Spec) -> bool:
        """Hand the spec to a host's supervisor that waits for it. False when none does.

        Raises as `Verbs.supervise` does.
        """
        task = self._tasks.get(spec.host)
        if task is None or task.done():
            return False
        self._specs[spec.host].set_result(spec)
        try:
            result = await asyncio.wait_for(asyncio.shield(task), SUPERVISE_S)
        except asyncio.TimeoutError as error:
            cause = f"the supervisor did not start within {SUPERVISE_S:g} s"
            raise CommandFailed(spec.host, cause, "The machine may be overloaded; try again.") from error
        return result is not None and started(spec.host, result)

    async def _hold(self, name: str, probe: Probe, coming: asyncio.Future[Spec | None]) -> Result | None:
        """One host's conversation. None when it came to nothing before there was a spec."""
        cluster, host = self._hosts.cluster, self._hosts.named(name)
        given = {
            "run": self._run, "host": name, "env": environment(host), "threads": cluster.run.threads,
            "local_ranks": len(devices(host, probe)), "emulated": host.connect == "demo",
        }  # fmt: skip
        folder = f"{probe.home}/.motley/runs/{self._run}/{name}"
        try:
            connection = await self._verbs.connection(name)
            argv = supervise_argv(self._run, name, probe.executable, folder)
            async with connection.stream(argv, cwd=self._verbs.tree.folder) as process:
                await process.write(json.dumps({"prepare": given}).encode() + b"\n")
                spec = await coming
                await process.feed(spec.to_json().encode() if spec is not None else b"")
                output = await process.read_all()
                return Result(code=await process.wait(), stdout=output, stderr=process.stderr_tail)
        except HostError:
            if coming.done() and coming.result() is not None:
                raise
            return None
