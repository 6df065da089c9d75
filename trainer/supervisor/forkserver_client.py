"""A host's fork server, as its supervisor sees it. Standard library only; what it does is in `trainer.rank.forkserver`.

It imports torch once, and every rank of the host is forked from it: the second rank costs no import, nor does one that
was killed and comes back, nor those of the next run (`trainer.verbs.rerun`). It ends with its supervisor.

    >>> forks = Forks.start("night", "box1", env)
    >>> forks.ask(0, ["rank", "--run", "night", "--host", "box1", "--member", "0"], env, output, member=0)
    True
    >>> forks.answers()               # once `forks.control` can be read
    [(0, 4711)]
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from motley.trainer.devices.names import UNTOUCHED
from motley.trainer.host import process_title, processes
from motley.trainer.host.fork import MESSAGE_BYTES, go_on_as, possible

ROOM_BYTES = 2048  # for what a rank's environment has and the fork server's has not
LONGER = 160  # bytes that the words of a rank, or of the next run's, may have more than the fork server's own
RENAME_S = 5.0


class ForkserverClient:
    """`control` can be read when there are `answers`; `gone` is set once the process has ended."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.control = control
        self.gone = False
        self._ended = False

    @classmethod
    def start(cls, run: str, host: str, env: Mapping[str, str]) -> ForkserverClient:
        """Start it with the environment of a rank. Called from the main thread only, while there is no other."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        words = ["forkserver", "--run", run, "--host", host, "--control", str(theirs.fileno())]
        env = {**env, **UNTOUCHED}
        with theirs:
            if possible(env, [*words, "." * LONGER], room=ROOM_BYTES):
                return cls(_forked(words, env, theirs), ours)
            return cls(_executed(words, env, theirs), ours)

    def ask(self, ticket: int, words: Sequence[str], env: Mapping[str, str], output: int, *, member: int) -> bool:
        """Ask for a process that does what `python -m motley.trainer WORDS` would, its output into a descriptor.

        The answer bears the ticket's number. False when it can't be asked.
        """
        message = {"ticket": ticket, "words": list(words), "env": dict(env), "member": member}
        return not self.gone and self._send(message, [output])

    def answers(self) -> list[tuple[int, int | None]]:
        """Tickets, and the processes that were forked for them: children of this process. None: it could not be."""
        found = []
        while not self.gone and (answer := self._receive()) is not None:
            found.append((int(answer["ticket"]), answer["pid"]))
        return found

    def rename(self, run: str, tags: Mapping[str, str]) -> bool:
        """It belongs to another run from now on. False when that can't be: then it has to end. Bounded."""
        if self.gone or not self._send({"run": run, "tags": dict(tags)}):
            return False
        if not select.select([self.control], [], [], RENAME_S)[0]:
            return False
        answer = self._receive()
        return answer is not None and answer.get("renamed") is True

    def reaped(self) -> None:
        """Its end was seen."""
        self._ended = self.gone = True

    def close(self) -> None:
        """End it. Ranks that it has forked live on."""
        self.gone = True
        self.control.close()
        if not self._ended:
            processes.send([self.pid], signal.SIGKILL)

    def _send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> bool:
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], list(descriptors))
        except OSError:  # it has ended, is too far behind, or the message is too long
            return False
        return True

    def _receive(self) -> dict[str, Any] | None:
        with contextlib.suppress(BlockingIOError, ValueError):
            data = self._read()
            if data:
                answer = json.loads(data)
                return answer if isinstance(answer, dict) else None
            self.gone = True
        return None

    def _read(self) -> bytes:
        try:
            return self.control.recv(MESSAGE_BYTES)
        except ConnectionError:
            return b""


def _forked(words: Sequence[str], env: Mapping[str, str], control: socket.socket) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        processes.die_with(parent)()
        go_on_as(words, env, output=2, keep={control.fileno()})  # supervisor.log takes what it prints
    return pid


def _executed(words: Sequence[str], env: Mapping[str, str], control: socket.socket) -> int:
    import subprocess  # most hosts only fork

    process = subprocess.Popen(
        [sys.executable, "-m", "motley.trainer", *words, *process_title.room_for_words()],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**env, **process_title.room(ROOM_BYTES)},
        start_new_session=True,
        pass_fds=[control.fileno()],
        preexec_fn=processes.die_with(os.getpid()),
    )
    process.returncode = 0  # who looks after it is the supervisor's `waitpid`
    return process.pid
