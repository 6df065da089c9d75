"""The process that a host's ranks are forked from: it has imported what they need, once.

`trainer.supervisor.forkserver_client` asks it.

It starts no thread that lives on, touches no accelerator and computes nothing: what is forked from it is as good as
new. A rank is forked twice, so that it becomes the supervisor's own child, which sees its end and takes it along.
While torch is being imported, which takes long on a slow host, it calls the coordinator for the ranks to come, so that
the others know what they wait for; a rank then takes over the line that was dialled for it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from motley.trainer.contract.handshake import beat_s
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.wire import Phase
from motley.trainer.devices.names import GPUS
from motley.trainer.host import process_title, processes, rank_environment
from motley.trainer.host.fork import MESSAGE_BYTES, go_on_as, words_of
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import run_folder
from motley.trainer.rank import coordinator_client
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError

CALL_S = 1.0  # to reach the coordinator, before it is tried again
NOT_YET_S = 0.001  # until a process that has ended hands its children on


class Request:
    """A rank to be. `output` is the descriptor that takes its output."""

    def __init__(self, *, ticket: int, words: list[str], env: dict[str, str], member: int, output: int) -> None:
        self.ticket = ticket
        self.words = words
        self.env = env
        self.member = member
        self.output = output
        self.asked = time.monotonic()
        self.line: CoordinatorClient | None = None


class Greeter(threading.Thread):
    """Takes the requests that come while this process imports, and calls the coordinator for their ranks."""

    def __init__(self, control: socket.socket, run: str, host: str) -> None:
        super().__init__(name="greeter", daemon=True)
        self.requests: list[Request] = []
        self._control = control
        self._folder = run_folder(run, host)
        self._host = host
        self._spec: Spec | None = None
        self._woken, self._wakes = os.pipe2(os.O_CLOEXEC)

    def run(self) -> None:
        while True:
            watched: list[Any] = [self._control, self._woken]
            readable, _, _ = select.select(watched, [], [], beat_s(len(self.requests)))
            if self._woken in readable:
                return
            if self._control in readable:
                message = receive(self._control)
                if message is None:  # the supervisor has ended
                    os._exit(0)
                if isinstance(message, Request):
                    self.requests.append(message)
                    self._journal(message, "connecting")
            for request in self.requests:
                if request.line is not None:
                    request.line.beat()
                else:
                    self._call(request)

    def end(self) -> list[Request]:
        """From now on this process has one thread again. Returns what was asked for."""
        os.write(self._wakes, b".")
        self.join()
        os.close(self._wakes)
        os.close(self._woken)
        return self.requests

    def _call(self, request: Request) -> None:
        spec = self._spec = self._spec or Spec.from_json((self._folder / "spec.json").read_bytes())

        def leader() -> tuple[str, int]:
            lead = lead_of(self._folder, spec)
            return lead.address, lead.port

        with contextlib.suppress(JoinError, OSError):  # the rank itself will say so, if it has no more success
            request.line = CoordinatorClient.call(spec, member=request.member, deadline_s=CALL_S, where=leader)
            self._journal(request, "importing torch")
            request.line.phase("importing torch")

    def _journal(self, request: Request, phase: Phase) -> None:
        member = request.member
        journal = Journal(self._folder, host=self._host, source=f"rank {member}")
        journal.write("phase", f"rank {member}: {phase}", member=member, phase=phase)
        journal.close()


def serve(run: str, host: str, descriptor: int) -> int:
    """Import, then fork what the supervisor asks for, until it ends."""
    supervisor = os.getppid()
    rank_environment.keep_memory()  # of one that was not executed
    control = socket.socket(fileno=descriptor)
    greeter = Greeter(control, run, host)
    greeter.start()
    gc.disable()  # what is imported is no garbage, and looking for it takes a tenth of torch's import
    preload()
    requests = greeter.end()
    gc.freeze()  # what is there now stays; no collection writes to pages that ranks share
    gc.enable()
    for request in requests:
        answer(control, request, fork(request, supervisor))
    while True:
        message = receive(control)
        if message is None:
            return 0
        if isinstance(message, Request):
            answer(control, message, fork(message, supervisor))
        else:
            tell(control, renamed=rename(str(message["run"]), dict(message["tags"])))


def preload() -> None:
    """Import what ranks need, as far as that can be had: what can't, a rank will find missing, and say so."""
    try:
        from motley.trainer.rank import task_rank

        getattr(task_rank, "preload", lambda: None)()
    except Exception:  # noqa: BLE001 - whatever an import raises; it goes to supervisor.log
        import traceback  # where nothing goes wrong it is not needed

        traceback.print_exc()


def receive(control: socket.socket) -> Request | dict[str, Any] | None:
    """The next message; None at the end."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
    except ConnectionError:
        return None
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    return Request(**message, output=descriptors[0]) if "ticket" in message else message


def tell(control: socket.socket, **message: object) -> None:
    with contextlib.suppress(OSError):  # the supervisor has ended
        control.send(json.dumps(message).encode())


def answer(control: socket.socket, request: Request, pid: int | None) -> None:
    tell(control, ticket=request.ticket, pid=pid)
    os.close(request.output)
    if request.line is not None:
        request.line.hand_over()


def rename(run: str, tags: Mapping[str, str]) -> bool:
    words = sys.argv[1:]
    words[words.index("--run") + 1] = run
    renamed = process_title.write({**os.environ, **tags}, words_of(words))
    if renamed:
        sys.argv[1:] = words
    return renamed


def fork(request: Request, supervisor: int) -> int | None:
    """The pid of the new process, once it is all that it is to be; None when it did not come that far."""
    env = {**request.env, "MOTLEY_IMPORTED_S": repr(time.monotonic() - request.asked)}
    if not process_title.fits(env, words_of(request.words)):
        return None
    told, tells = os.pipe2(os.O_CLOEXEC)
    between = os.fork()
    if between == 0:
        try:
            between = os.getpid()
            if os.fork() == 0:
                become(request, env, between=between, supervisor=supervisor, tells=tells)
        finally:
            os._exit(0)
    os.close(tells)
    os.waitpid(between, 0)
    with os.fdopen(told, "rb") as file:
        pid = file.read()
    return int(pid) if pid else None


def become(request: Request, env: Mapping[str, str], *, between: int, supervisor: int, tells: int) -> None:
    """In the new process: be the rank. Never returns."""
    os.setsid()
    while os.getppid() == between:
        time.sleep(NOT_YET_S)
    processes.die_with(supervisor)()
    if gpus_are_lost():
        return
    if request.line is not None:
        coordinator_client.called[request.words[request.words.index("--run") + 1], request.member] = request.line

    def begun() -> None:
        os.write(tells, str(os.getpid()).encode())
        os.close(tells)

    keep = {tells, *([request.line.fileno()] if request.line is not None else [])}
    go_on_as(request.words, env, output=request.output, keep=keep, begun=begun)


def gpus_are_lost() -> bool:
    """Whether an import has begun to use a GPU before the fork, after which no forked process can."""
    modules = [getattr(sys.modules.get("torch"), kind, None) for kind in GPUS]
    return any(getattr(module, "_is_in_bad_fork", bool)() for module in modules)
