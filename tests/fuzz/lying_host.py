"""A host whose answers are the test's to choose, in the place of a connection: nothing runs, no network is used.

    hosts = lying(cluster, ["box1"], answers=[{"ok": False, "error": "\\x1b]52;c;…"}])
    await push(await hosts.get("box1"), "python3", tree)

All that is asked of it is answered with the same lines, once as a program of `trainer.bootstrap` gives them and once as
a verb does, and then the command has ended.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError
from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.reach import Connection, Result
from tests.fuzz.mutation import written

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class LyingProcess:
    """A command under way, as `remote.ssh.process` has it."""

    def __init__(self, answers: Sequence[Any], stderr: str, prefix: str) -> None:
        self.stderr_tail = stderr
        self._output = [f"{prefix}{written(answer)}".encode() for answer in answers]

    async def lines(self) -> AsyncIterator[bytes]:
        for line in self._output:
            yield line

    async def write(self, data: bytes, sent: Callable[[int], object] = lambda _: None) -> None:
        sent(len(data))

    def close_stdin(self) -> None:
        pass

    async def wait(self) -> int:
        return 0


class LyingConnection:
    def __init__(self, cluster: Cluster, name: str, answers: Sequence[Any], stderr: str) -> None:
        (self.host,) = (host for host in cluster.hosts if host.name == name)
        self.is_open = True
        self.own_address = "10.0.0.1"
        self.instance, self.moves = "", False
        self._answers = answers
        self._stderr = stderr

    async def run(self, argv: Sequence[str], *, take: Callable[[bytes], object] | None = None, **_: Any) -> Result:
        if argv[0] == "test":
            return Result(code=1, stdout=b"", stderr="")
        process = LyingProcess(self._answers, self._stderr, _prefix(argv))
        output = b"\n".join([line async for line in process.lines()])
        if take is not None:
            take(output)
        return Result(code=0, stdout=output, stderr=self._stderr)

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], **_: Any) -> AsyncIterator[LyingProcess]:
        yield LyingProcess(self._answers, self._stderr, _prefix(argv))

    async def close(self) -> None:
        pass


def lying(cluster: Cluster, answers: Sequence[Any], stderr: str = "") -> Hosts:
    """The hosts of the cluster, each of which answers so."""
    hosts = Hosts(cluster)
    for host in cluster.hosts:
        hosts._open[host.name] = cast(Connection, LyingConnection(cluster, host.name, answers, stderr))
    return hosts


def texts(value: Any) -> Iterable[str]:
    """All text in a record, an error or an answer."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseException):
        yield str(value)
        if isinstance(value, HostError):
            yield from (value.cause, value.remedy)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, dict):
        for pair in value.items():
            yield from (text for part in pair for text in texts(part))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from texts(part)


def unsafe(values: Iterable[Any]) -> list[str]:
    """The texts in them that could steer a terminal, or look like another one."""
    found = [text for value in values for text in texts(value)]
    return [text for text in found if {unicodedata.category(char) for char in text.replace("\n", "")} & UNSAFE]


def _prefix(argv: Sequence[str]) -> str:
    return "" if "motley.trainer" in argv else "motley:"
