"""A terminal for tests: the console runs in tmux on the lab's master, keys go in, the screen is read as text."""

from __future__ import annotations

import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.lab.lab import Lab

SOON_S = 60.0  # for what takes a second or a few


class Terminal:
    """One tmux server with one window. `with Terminal(lab, argv, cwd=…) as terminal:`"""

    def __init__(self, lab: Lab, argv: Sequence[str], *, cwd: Path, width: int = 80, height: int = 24) -> None:
        self._lab = lab
        self._socket = str(cwd / f"tmux.{uuid.uuid4().hex[:8]}")  # a server that is ending may still hold its own
        command = f'{shlex.join(argv)}; echo "exit code $?"; exec cat'
        self._start = ["new-session", "-d", "-x", str(width), "-y", str(height), command]
        self._cwd = cwd

    def __enter__(self) -> Terminal:
        self._tmux(*self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def press(self, *keys: str) -> None:
        """tmux's names of keys: "q", "Enter", "Escape"."""
        self._tmux("send-keys", *keys)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p").stdout

    def wait_for(self, shown: str | Callable[[str], bool], within_s: float = SOON_S) -> str:
        """The screen, once it shows the text or satisfies the condition."""
        deadline = time.monotonic() + within_s
        while True:
            screen = self.screen()
            if shown(screen) if callable(shown) else shown in screen:
                return screen
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {shown}\n{screen}"
            time.sleep(0.1)  # tmux has no event for it

    def _tmux(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self._lab.exec(["tmux", "-S", self._socket, *words], cwd=self._cwd)
        assert done.returncode == 0, done.stderr
        return done
