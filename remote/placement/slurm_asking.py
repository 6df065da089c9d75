"""Questions to Slurm of somebody who waits long, and is not to lose hours of waiting by one answer that does not come.

What fails is told once and asked again, over a new way where the old one to the login node was lost. Only after minutes
without any answer it is given up.

>>> async with Asking(slurm, say) as asking:
...     components = await asking.ask(slurm.queue)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TypeVar

from motley.remote.errors import HostError, RunFailed
from motley.remote.hosts.login_node import LoginNode
from motley.remote.placement.slurm_commands import SlurmCommands

SILENT_S = 600.0  # a login node that boots, or a controller whose deputy takes over, is back before
PAUSE_S = 5.0  # from a question without an answer to the same once more

T = TypeVar("T")


class Silent(RunFailed):
    """Slurm has not answered for `SILENT_S`. What it was asked about is as it was."""


class Asking:
    """`say` is told of answers that don't come."""

    def __init__(self, slurm: SlurmCommands, say: Callable[[str], object]) -> None:
        self._slurm, self._say = slurm, say
        self._opening = asyncio.Lock()  # several may ask at once
        self._open = AsyncExitStack()
        self._gate: LoginNode | None = None
        self._told = False

    async def __aenter__(self) -> Asking:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def gate(self) -> LoginNode:
        """The way to the login node, opened anew where it was lost. Raises a HostError."""
        async with self._opening:
            if self._gate is None or not self._gate.is_open:
                self._gate = None
                await self._open.aclose()
                self._gate = await self._open.enter_async_context(self._slurm.gate())
            return self._gate

    async def ask(self, question: Callable[[LoginNode], Awaitable[T]]) -> T:
        """Its answer. Raises Silent, and what else the question raises but a HostError."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + SILENT_S
        while True:
            try:
                answer = await question(await self.gate())
            except HostError as error:
                if loop.time() >= ends:
                    raise Silent(f"Slurm has given no answer for {SILENT_S / 60:g} minutes: {error.cause}") from error
                if not self._told:
                    self._told = True
                    self._say(f"no answer, it is asked again: {error.cause}")
            else:
                if self._told:
                    self._told = False
                    self._say("Slurm answers again")
                return answer
            await asyncio.sleep(PAUSE_S)
