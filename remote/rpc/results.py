"""The verb `results` of the trainer on a host, as calls: what a script there has written.

>>> async with send_results(verbs, "box1", "night", asked) as read_to:
...     await read_to(frames.feed)

`asked` is the line that `trainer.verbs.results` reads: `{"have": {path: [size, mtime_ns]}, "most": bytes}`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from motley.remote.answers import Answer
from motley.remote.errors import CommandFailed
from motley.remote.rpc.verbs import FETCH_S, Verbs, answered

ReadTo = Callable[[Callable[[bytes], object]], Awaitable[None]]


@asynccontextmanager
async def send_results(verbs: Verbs, host: str, run: str, asked: str) -> AsyncIterator[ReadTo]:
    """What this gives hands all that comes over, in the frames of `trainer.results.send`. Raises a HostError."""
    connection = await verbs.connection(host)
    argv = verbs.argv(host, "results", "--run", run, "--host", host)
    async with connection.stream(argv, cwd=verbs.tree.folder) as process:

        async def read_to(take: Callable[[bytes], object]) -> None:
            await process.write(asked.encode() + b"\n")
            await process.read_to(take, sys.maxsize)
            if await process.wait():
                said = process.stderr_tail.splitlines()[-1:] or ["nothing"]
                raise CommandFailed(host, f"they could not be sent, it said: {said[0]}", "They stay there.")

        yield read_to


async def lacking_results(verbs: Verbs, host: str, run: str, asked: str) -> Answer:
    """How many of a run's results there are not among those that are `asked` about, and how large they are."""
    connection = await verbs.connection(host)
    argv = verbs.argv(host, "results", "--run", run, "--host", host, "--once")
    result = await connection.run(argv, stdin=asked.encode() + b"\n", timeout_s=FETCH_S, cwd=verbs.tree.folder)
    return answered(host, "results", result, "look for results")
