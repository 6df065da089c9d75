"""A pod of Kubernetes as a connection: each command is a `kubectl exec`, whose standard streams kubectl brings here.

Which pod a host is, the cluster is asked when the connection opens: one that was evicted has another in its place.
What detaches itself from a command lives on in its pod.

    >>> connection = await PodConnection.open(host, cluster.kubernetes)
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from motley.remote.config.cluster import Host
from motley.remote.config.sections import KubernetesKeys
from motley.remote.errors import CommandFailed, HostError, Unreachable
from motley.remote.hosts.kubectl import Kubectl, environment
from motley.remote.hosts.kubectl_errors import OWN_CODE, told
from motley.remote.hosts.local_connection import LocalConnection
from motley.remote.hosts.pods import Seen, by_number, of_run
from motley.remote.ssh.commands import Commands
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import login_line

NO_POD = "A pod is there as long as a run is: `motley run` asks for one, `motley status` shows what there is."
NO_COMMANDS = (
    "You may not (create pods/exec), or the pod has ended: it is followed by kubectl logs. Ask who runs the cluster "
    "for that right: kubectl auth can-i create pods --subresource=exec"
)
ANOTHER = 113  # the exit code where the pod is another one of the same name by now
OTHERS = "The others of the run do without it; another one may come in its place: `motley status` shows."


class PodProcess(RemoteProcess):
    """A command in a pod. What kubectl says of the way to it is no word of the command's."""

    async def wait(self) -> int:
        code = await super().wait()
        if code and not OWN_CODE.search(self.stderr_tail):
            raise Unreachable(self._host, f"kubectl exec has ended: {told(self.stderr_tail).cause}", OTHERS)
        return code

    async def _never_began(self, head: bytes) -> CommandFailed | Unreachable:
        error = await super()._never_began(head)
        if OWN_CODE.search(self.stderr_tail):
            return Unreachable(self._host, "another pod is in its place, or its shell starts nothing", OTHERS)
        cause, remedy = told(self.stderr_tail)
        return (
            error if isinstance(error, Unreachable) else Unreachable(self._host, f"no command begins: {cause}", remedy)
        )


class PodConnection(Commands):
    """`PodConnection.open` makes it."""

    def __init__(self, host: Host, kubectl: Kubectl, pod: Seen, here: LocalConnection) -> None:
        super().__init__(host)
        self.instance = pod.uid
        self._kubectl, self._pod, self._here = kubectl, pod, here

    @classmethod
    async def open(cls, host: Host, keys: KubernetesKeys) -> PodConnection:
        """Raises Unreachable for a host that has no pod that runs, UsageError without kubectl, or another HostError."""
        if host.pod is None or not host.pod.run:
            raise Unreachable(host.name, "it is no pod at the moment", NO_POD)
        if not host.pod.commands:
            raise Unreachable(host.name, "nothing can be run in its pod", NO_COMMANDS)
        kubectl = Kubectl(keys)
        try:
            found = await kubectl.table("get", "pods", "-l", of_run(host.pod.run))
        except HostError as error:
            raise Unreachable(host.name, error.cause, error.remedy) from error
        pod = by_number(found.get("items", [])).get(host.pod.number)
        if pod is None:
            raise Unreachable(host.name, "it has no pod at the moment", OTHERS)
        if pod.phase != "runs":
            raise Unreachable(host.name, f"its pod {pod.name}: {pod.says}", pod.remedy or OTHERS)
        here = await LocalConnection.open(host, environment())
        return cls(host, kubectl, pod, here)

    @property
    def is_open(self) -> bool:
        return self._here.is_open

    @property
    def own_address(self) -> None:
        """Pods do not see this machine."""
        return

    async def lost(self) -> str:
        return await self._here.lost()

    async def close(self) -> None:
        await self._here.close()

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AsyncIterator[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block ends the way to it. Where that is gone
        the connection is over: the next one asks for the pod anew."""
        same = f'[ "${{MOTLEY_POD_UID:-{self._pod.uid}}}" = {self._pod.uid} ] || exit {ANOTHER}'
        line = f"{same}; cd && {login_line(argv, cwd)}"
        words = self._kubectl.argv("exec", "-i", self._pod.name, "-c", self._pod.container, "--", "/bin/sh", "-c", line)
        try:
            async with self._here.stream_line(f"exec {shlex.join(words)}", PodProcess) as process:
                yield process
        except Unreachable:
            await self._here.close()
            raise
