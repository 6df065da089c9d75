"""A verb of the trainer that answers line by line while it works, and ends when nobody listens any more.

>>> async with trainer(verbs, "box1", "calibrate") as process:
...     await process.write(asked)
...     async for line in process.lines():
...         print(said("box1", "calibrate", line))
{'note': 'importing torch'}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from motley.remote.answers import Answer, answer_of
from motley.remote.errors import OVERLOADED, CommandFailed
from motley.remote.hosts.reach import RemoteProcess
from motley.remote.rpc.verbs import Verbs

T = TypeVar("T")
END_S = 10.0  # from the last word of a process to its end


async def within(seconds: float, answer: Awaitable[T], host: str, what: str) -> T:
    """Raises CommandFailed when it takes longer."""
    try:
        return await asyncio.wait_for(answer, seconds)
    except asyncio.TimeoutError as error:
        cause = f"{what}: the host said nothing for {seconds:g} s"
        raise CommandFailed(host, cause, OVERLOADED) from error


@asynccontextmanager
async def trainer(verbs: Verbs, host: str, *words: str) -> AsyncIterator[RemoteProcess]:
    """A verb under way. Leaving the block closes its stdin, which ends it."""
    connection = await verbs.connection(host)
    async with connection.stream(verbs.argv(host, *words), cwd=verbs.tree.folder) as process:
        try:
            yield process
        finally:
            process.close_stdin()


async def no_answer(host: str, process: RemoteProcess, what: str, remedy: str) -> CommandFailed:
    """The error of a verb that has ended without one."""
    await within(END_S, process.wait(), host, what)  # until then stderr may not be whole
    said = process.stderr_tail.splitlines()[-1:] or ["nothing"]
    return CommandFailed(host, f"{what}; it said: {said[0]}", remedy)


def said(host: str, verb: str, line: bytes) -> Answer:
    """The object in a line; empty for anything else, such as what a library prints."""
    try:
        return answer_of(host, verb, line)
    except CommandFailed:
        return Answer(host, verb, {})


def remedy_of(answer: Answer) -> str:
    """The remedy in it, as a sentence."""
    remedy = answer.text("remedy")
    return remedy if not remedy or remedy.endswith((".", "?", "!")) else f"{remedy}."
