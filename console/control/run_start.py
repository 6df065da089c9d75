"""The start of a run, or the way back to one, which can be given up: its session is opened, then launched or attached.

    start = RunStart(lambda: opener(emit, ask), opened, attach=False, resume=None)
    session = await start.session()    # ranks are started, or found
    await start.give_up()              # instead: nothing of it is left on a host

Who waits for it may be gone before it is over: it ends what it has begun on hosts, over its own connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from motley.console.control.session_protocol import STOP_S, Opened, SessionLike
from motley.remote.end_tasks import end
from motley.remote.errors import RunFailed


class RunStart:
    def __init__(
        self,
        opener: Callable[[], Awaitable[Opened]],
        opened: Callable[[Opened], None],
        *,
        attach: bool,
        resume: str | None,
        why_cold: str = "",
    ) -> None:
        """`opened` is called with the session, before it is launched or attached."""
        self.finds = attach  # a run that is there, rather than beginning one

        self._bound_s = STOP_S

        async def begin() -> SessionLike:
            made = await opener()
            session, self._bound_s = made.session, made.stop_bound_s
            opened(made)
            await (session.attach() if attach else session.launch(resume=resume, why_cold=why_cold))
            return session

        self._task = asyncio.ensure_future(begin())
        self._cancelled = False

    async def session(self) -> SessionLike:
        """Raises what opening, launching or attaching does, and CancelledError when it `was_given_up`."""
        return await asyncio.shield(self._task)

    async def give_up(self) -> None:
        """Returns once it is over. One that looks for a run has to find it, for that to be stopped.

        Raises RunFailed when that takes longer than hosts may take.
        """
        if not self.finds and not self._cancelled:
            self._cancelled = True  # a second time would cut short what it ends on hosts
            self._task.cancel()
        await asyncio.wait([self._task], timeout=self._bound_s)
        if not self._task.done():
            what = "the run was not found" if self.finds else "what had begun of the start has not ended"
            raise RunFailed(f"{what} within {self._bound_s:.0f} s: ranks may run on. x waits once more")

    @property
    def was_given_up(self) -> bool:
        return self._task.cancelled()

    @property
    def failed(self) -> bool:
        """Whoever waits for the session tells of it."""
        return self._task.done() and not self._task.cancelled() and self._task.exception() is not None

    async def close(self) -> None:
        """Cut it short."""
        await end([self._task])
