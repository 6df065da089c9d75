"""The terminal under the console, which may go away: its window is closed, or the connection to the master is lost.

Nobody may tell the console: under `make` it is not the one whom the kernel sends SIGHUP, and reading from a terminal
that is gone returns at once, for ever. So the end of the input is looked for; it is told to the app as `HungUp`:

    def get_driver_class(self): return with_an_end(super().get_driver_class())
    def on_hung_up(self): let_go(); ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import stat
from threading import Event
from typing import Any

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from motley.console.tui.hung_up import HungUp


def is_gone(terminal: int) -> bool:
    """Whether the other end of a terminal is closed. `terminal` is a file descriptor."""
    poll = select.poll()
    poll.register(terminal, 0)  # a hang-up is always told
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def let_go() -> None:
    """Write to nothing in the place of the terminal that is gone: what comes after the screen is printed too."""
    ours = os.fstat(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            that = os.fstat(descriptor)
            if stat.S_ISCHR(that.st_mode) and that.st_rdev == ours.st_rdev:
                os.dup2(nothing, descriptor)
    os.close(nothing)


class Terminal(LinuxDriver):
    """Textual's own, with an end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended = self.exit_event = _Ended(self.fileno)
        self._file: Any = _Tolerant(self._file)

    def start_application_mode(self) -> None:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def run_input_thread(self) -> None:
        try:
            super().run_input_thread()
        except OSError:  # EIO: as good as an end
            self._hang_up()
        else:
            if self._ended.gone:
                self._hang_up()

    def _hang_up(self) -> None:
        self._ended.gone = True
        self.send_message(HungUp())


def with_an_end(base: type[Driver]) -> type[Driver]:
    """Ours for Textual's own: one that says when nobody is there any more."""
    if base.__module__ == "textual.drivers.web_driver":
        from motley.console.tui.page_driver import PageDriver

        return PageDriver
    return Terminal if base is LinuxDriver else base


class _Ended(Event):
    """Set, too, once the terminal is gone: Textual looks before each time it reads."""

    def __init__(self, terminal: int) -> None:
        super().__init__()
        self.gone = False
        self._terminal = terminal

    def is_set(self) -> bool:
        self.gone = self.gone or is_gone(self._terminal)
        return self.gone or super().is_set()


class _Tolerant:
    """Nothing is lost with what is drawn for nobody, and the thread that writes must not end of it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()
