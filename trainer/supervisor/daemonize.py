"""From an SSH session to a process that outlives it: lock, double fork, own session, one line of answer.

`python -m motley.trainer supervise` calls `supervise`, `rejoin` calls `rejoin`; what runs in the end is
`trainer.supervisor.supervisor.Supervisor`.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from motley.trainer.contract.spec import Spec
from motley.trainer.host import process_title, processes
from motley.trainer.host.fork import words_of
from motley.trainer.host.leader import lead_of
from motley.trainer.host.lock_and_spec import keep_spec, take_lock
from motley.trainer.host.paths import run_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.supervisor.child import Given
from motley.trainer.supervisor.coordinator_socket import listen
from motley.trainer.supervisor.forkserver_client import ForkserverClient
from motley.trainer.supervisor.next_run import follow, give_up
from motley.trainer.supervisor.successor import Successor
from motley.trainer.supervisor.supervisor import Supervisor

ROOM_BYTES = 4096  # for the environment of a rank, and for the next run, which may have a longer name
PREPARED_S = 120.0  # without a word of the run that is to come, nobody waits for it any longer
REFUSED = (OSError, ValueError, KeyError, TypeError)


class Begun(NamedTuple):
    """A run that has its place on this host. `about`: for the supervisor."""

    about: dict[str, Any]
    folder: Path
    lock: int


def supervise(stdin: BinaryIO, stdout: TextIO) -> int:
    """Read a spec, leave a supervisor behind, answer `{"ok": true, "pid": …}` or `{"ok": false, "error": …}`."""
    received = time.time()
    try:
        begun = _begin(stdin.readline(), received)
    except REFUSED as error:
        return refuse(stdout, error)
    return leave_behind(lambda writer: stay(Supervisor(**begun.about), begun.folder, begun.lock, writer), stdout)


def prepare(given: Mapping[str, Any], tags: Mapping[str, str], writer: int, coming: int) -> None:
    """The supervisor's process before its run is known: have torch imported, and wait for the spec. Never returns.

    `trainer.bootstrap.prestart` has forked it. `given` is what a `trainer.supervisor.child.Given` has, `tags` go into
    what /proc shows. `writer` and `coming` are descriptors, for the answer and for the spec: when none comes, nothing
    is left behind; when it comes too late, the answer has `"late": true`.
    """
    if not process_title.write({**os.environ, **tags}, words_of(["supervise"])):
        raise OSError("no room for the tags of the run")
    asked = Given(**given)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    processes.become_subreaper()
    forks = ForkserverClient.start(asked.run, asked.host, asked.environment())
    text, late = b"", True
    while late and select.select([coming], [], [], PREPARED_S)[0]:
        data = os.read(coming, 65536)
        text += data
        late = bool(data)
    try:
        if late or not text:
            raise TimeoutError("no run has come")
        begun = _begin(text, time.time())
    except REFUSED as error:
        forks.close()
        os.waitpid(forks.pid, 0)
        os.write(writer, json.dumps({"ok": False, "error": str(error), "late": late}).encode() + b"\n")
        os._exit(1)
    os.close(coming)
    stay(Supervisor(**begun.about, forks=forks), begun.folder, begun.lock, writer)


def _begin(text: bytes, received: float) -> Begun:
    """Raises one of `REFUSED`."""
    spec = Spec.from_json(text)
    folder = run_folder(spec.run, spec.host)
    lock = take_lock(folder)
    listener = listen(spec.leader_address, spec.port) if spec.is_leader else None
    keep_spec(folder, spec)
    about = {"spec": spec, "folder": folder, "received": received, "listener": listener, "anew": spec.joins}
    return Begun(about=about, folder=folder, lock=lock)


def rejoin(run: str, host: str, stdout: TextIO, *, ended: bool = False) -> int:
    """Bring this host back into a run that it fell out of, by the spec it was given then. Answers as `supervise` does.

    Its ranks start anew, and get the state of the run from the others. With `ended` also one where the run has ended:
    it was taken out of it.
    """
    received = time.time()
    folder = run_folder(run, host)
    with_tags(run, host, folder, ["rejoin", "--run", run, "--host", host, *["--ended"] * ended])
    try:
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        lock = take_lock(folder)
        state = state_of(folder).get("state")
        if state not in (("lost", "stopped", "failed") if ended else ("lost",)):
            raise ValueError(f"the run is {state} here: only a host that was cut off can come back")
        if lead_of(folder, spec).leader == host:
            raise ValueError("this host led the run: nobody else knows how far it was")
        processes.end(folder, grace_s=0.0)  # of the supervisor that is gone
        if spec.container is not None:
            from motley.trainer.supervisor import containers

            containers.end(spec.container.runtime, folder)
        (folder / "stop.json").unlink(missing_ok=True)
        Successor(folder).forget()
    except REFUSED as error:
        return refuse(stdout, error)
    supervisor = functools.partial(Supervisor, spec, folder, received=received, listener=None, anew=True)
    return leave_behind(lambda writer: stay(supervisor(), folder, lock, writer), stdout)


def with_tags(run: str, host: str, folder: Path, words: list[str]) -> None:
    """Go on as a process that bears the tags of the run, with its Python: this verb once more, unless it does by now.

    For /proc shows the environment that a process was started with.
    """
    tags = processes.tags(run, host, folder)
    if tags.items() <= os.environ.items():
        return
    python = _python_of(folder)
    roomy = {**os.environ, **tags, "PYTHONUNBUFFERED": "1", **process_title.room(ROOM_BYTES)}
    os.execve(python, [python, "-m", "motley.trainer", *words, *process_title.room_for_words()], roomy)


def _python_of(folder: Path) -> str:
    """What the ranks of the run were started with here, so that they find the same packages."""
    try:
        python = Spec.from_json((folder / "spec.json").read_bytes()).python
    except (ValueError, KeyError, TypeError, OSError):
        return sys.executable
    return python if os.access(python, os.X_OK) else sys.executable


def refuse(stdout: TextIO, error: Exception) -> int:
    """Answer that nothing was started, and why."""
    print(json.dumps({"ok": False, "error": str(error)}), file=stdout, flush=True)
    return 1


def leave_behind(stay: Callable[[int], None], stdout: TextIO) -> int:
    """Fork the supervisor's process, and answer what it says of its start.

    `stay` is what that process does; it gets the descriptor for its answer.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            stay(writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        line = answer.readline() or json.dumps({"ok": False, "error": "the supervisor ended before it had started"})
    print(line.strip(), file=stdout, flush=True)
    return 0 if json.loads(line)["ok"] else 1


def stay(supervisor: Supervisor, folder: Path, lock: int, writer: int) -> None:
    """The supervisor's process, with the `lock` of the run in `folder`: never returns. It may go on with the next run
    when this one has ended."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    _log_to(folder)

    code, answered = 1, False

    def ready() -> None:
        nonlocal answered
        os.write(writer, json.dumps({"ok": True, "pid": os.getpid()}).encode() + b"\n")
        os.close(writer)
        answered = True

    try:
        supervisor.run(ready)
        while supervisor.kept is not None:
            try:
                begun = follow(folder, supervisor.kept)
            except REFUSED as error:
                give_up(folder, error)
                raise
            os.close(lock)
            supervisor, folder, lock = begun.supervisor, begun.folder, begun.lock
            _log_to(folder)
            supervisor.run(lambda: None)
        code = 0
    except BaseException as error:  # noqa: BLE001 - nobody above: it goes to supervisor.log, and to the starter
        import traceback  # where nothing goes wrong it is not needed

        traceback.print_exc()
        if isinstance(error, OSError) and not answered:
            os.write(writer, json.dumps({"ok": False, "error": str(error)}).encode() + b"\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _log_to(folder: Path) -> None:
    log = os.open(folder / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target in (1, 2):
        os.dup2(log, target)
    os.close(log)
