"""The console under textual-serve: its terminal is a page in a browser, spoken with over stdin and stdout.

The page may go away, and the server with it. Textual's own driver would stay, or end in the middle of a line; here the
end of the input, a signal, and an output that nobody reads are what a closed window is to a terminal:

    def get_driver_class(self): return PageDriver
    def on_hung_up(self): ...
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from textual.drivers.web_driver import WebDriver

from motley.console.tui.hung_up import HungUp


class PageDriver(WebDriver):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gone = False
        self._write: Any = self._written

    def start_application_mode(self) -> None:
        super().start_application_mode()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._hang_up)

    def run_input_thread(self) -> None:
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._hang_up()

    def _written(self, data: bytes) -> int:
        try:
            return os.write(self.fileno, data)
        except BrokenPipeError:
            self._hang_up()
            return len(data)

    def _hang_up(self) -> None:
        if not self._gone:
            self._gone = True
            self.send_message(HungUp())
