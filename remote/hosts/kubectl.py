"""kubectl on this machine, as a function: its words in, what it says out. The cluster is the one that it knows.

>>> kubectl = Kubectl(cluster.kubernetes)
>>> (await kubectl.table("get", "pods", "-l", "motley-run=night"))["items"]
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from motley.remote.config.sections import KubernetesKeys
from motley.remote.end_tasks import end
from motley.remote.errors import CommandFailed, HostError, RunFailed, Unreachable, UsageError
from motley.remote.hosts.kubectl_errors import INSTALL, told, version_problem
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean
from motley.remote.ssh.commands import Result
from motley.remote.ssh.process import MAX_LINE

ASK_S = 30.0  # for the cluster to answer one question
CALLED = "kubernetes"  # the cluster, among the names of hosts


class Kubectl:
    """With the context and namespace of cluster.toml."""

    def __init__(self, keys: KubernetesKeys) -> None:
        self._keys = keys

    def argv(self, *words: str) -> list[str]:
        """The command line, for this machine."""
        keys = self._keys
        context = [f"--context={keys.context}"] if keys.context else []
        namespace = [f"--namespace={keys.namespace}"] if keys.namespace else []
        return ["kubectl", *context, *namespace, *words]

    def to_paste(self, *words: str) -> str:
        return pasteable(self.argv(*words))

    async def run(self, *words: str, stdin: bytes = b"", timeout_s: float = ASK_S) -> Result:
        """A code other than 0 is a result. Raises UsageError without a kubectl, CommandFailed when it takes longer."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self.argv(*words), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise absent(error) from error
        try:
            out, said = await asyncio.wait_for(child.communicate(stdin), timeout_s)
        except asyncio.TimeoutError as error:
            cause = f"kubectl {words[0]} did not end within {timeout_s:g} s"
            raise Unreachable(CALLED, cause, "Is the cluster up? kubectl cluster-info asks the same.") from error
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
        return Result(code=child.returncode or 0, stdout=out, stderr=said.decode(errors="replace"))

    @asynccontextmanager
    async def stream(self, *words: str) -> AsyncIterator[Stream]:
        """Its lines as they come. Leaving the block ends it. Raises UsageError without a kubectl."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self.argv(*words), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, start_new_session=True, limit=MAX_LINE,
            )  # fmt: skip
        except OSError as error:
            raise absent(error) from error
        stream = Stream(child)
        try:
            yield stream
        finally:
            await stream.close()

    async def said(self, *words: str, stdin: bytes = b"", timeout_s: float = ASK_S) -> str:
        """Its stdout. Raises a HostError with the remedy where it fails."""
        done = await self.run(*words, stdin=stdin, timeout_s=timeout_s)
        if done.code:
            raise failed(done.stderr)
        return done.stdout.decode(errors="replace")

    async def table(self, *words: str) -> dict[str, Any]:
        """Of what it gets, as JSON."""
        text = await self.said(*words, "-o", "json")
        try:
            found = json.loads(text)
        except ValueError as error:
            raise CommandFailed(CALLED, f"kubectl answered with {clean(text[:80])!r}", "Report this.") from error
        return found if isinstance(found, dict) else {}

    async def check_version(self) -> None:
        """Raises UsageError for one that is absent or too old."""
        done = await self.run("version", "--client", "-o", "json")
        problem = told(done.stderr).cause if done.code else version_problem(done.stdout.decode(errors="replace"))
        if problem:
            raise UsageError(f"{shutil.which('kubectl') or 'kubectl'} can't be used: {problem}. {INSTALL}")


class Stream:
    """Of one kubectl that runs."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._coming: asyncio.Task[bytes] | None = None

    async def line(self, timeout_s: float) -> bytes | None:
        """The next one, with its end; empty when kubectl has ended, None when none came in so long: it may be asked
        for again. Raises CommandFailed for a line that is too long to be one."""
        assert self._child.stdout is not None
        if self._coming is None:
            self._coming = asyncio.create_task(self._child.stdout.readline())
        # Not wait_for, which below Python 3.12 can swallow the cancellation when a line comes with it.
        try:
            done, _ = await asyncio.wait({self._coming}, timeout=timeout_s)
        except asyncio.CancelledError:
            await end([self._coming])
            raise
        if not done:
            return None
        found, self._coming = self._coming, None
        try:
            return found.result()
        except ValueError as error:
            raise CommandFailed(CALLED, f"a line of more than {MAX_LINE} bytes came", "Report this.") from error

    async def close(self) -> None:
        if self._coming is not None:
            await end([self._coming])
        if self._child.returncode is None:
            os.killpg(self._child.pid, signal.SIGKILL)
        await self._child.communicate()

    async def failure(self) -> str:
        """Once it has ended: what it has said of that; empty when it has done all."""
        _, said = await self._child.communicate()
        return said.decode(errors="replace") if self._child.returncode else ""


def failed(said: str) -> HostError:
    cause, remedy = told(said)
    return CommandFailed(CALLED, cause, remedy)


def refused(said: str, what: str) -> RunFailed:
    """The same for what was asked for."""
    cause, remedy = told(said)
    return RunFailed(f"{what}: {cause}\n  {remedy}")


def absent(error: OSError) -> UsageError:
    why = (
        "there is no kubectl on this machine" if isinstance(error, FileNotFoundError) else f"kubectl: {error.strerror}"
    )
    return UsageError(f"{why}. {INSTALL}")


def environment() -> dict[str, str]:
    """This terminal's, for kubectl in another folder."""
    files = os.environ.get("KUBECONFIG", "")
    absolute = os.pathsep.join(os.path.abspath(file) for file in files.split(os.pathsep) if file)
    return {**os.environ, **({"KUBECONFIG": absolute} if absolute else {})}
