"""From an SSH session to a process that outlives it: lock, double fork, own session, one line of answer.

`python -m trainer supervise` calls `supervise`, `rejoin` calls `rejoin`; what runs in the end is
`trainer.supervisor.Supervisor`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

from trainer import processes, title
from trainer.attach import state_of
from trainer.folders import run_folder
from trainer.lead import lead_of
from trainer.listen import listen
from trainer.rerun import follow, give_up
from trainer.spec import Spec
from trainer.start_up import keep_spec, take_lock
from trainer.supervisor import Supervisor

TAGS_ROOM = 512  # bytes: the next run may have a longer name


def supervise(stdin: BinaryIO, stdout: TextIO) -> int:
    """Read a spec, leave a supervisor behind, answer `{"ok": true, "pid": …}` or `{"ok": false, "error": …}`."""
    received = time.time()
    try:
        spec = Spec.from_json(stdin.read())
        folder = run_folder(spec.run, spec.host)
        lock = take_lock(folder)
        listener = listen(spec.leader_address, spec.port) if spec.is_leader else None
        keep_spec(folder, spec)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return _refuse(stdout, error)
    supervisor = functools.partial(Supervisor, spec, folder, received=received, listener=listener, anew=spec.joins)
    return _leave_behind(supervisor, folder, lock, stdout)


def rejoin(run: str, host: str, stdout: TextIO, *, ended: bool = False) -> int:
    """Bring this host back into a run that it fell out of, by the spec it was given then. Answers as `supervise` does.

    Its ranks start anew, and get the state of the run from the others. With `ended` also one where the run has ended:
    it was taken out of it.
    """
    received = time.time()
    folder = run_folder(run, host)
    tags = processes.tags(run, host, folder)
    if not tags.items() <= os.environ.items():  # /proc shows the environment that a process was started with
        again = [sys.executable, "-m", "trainer", "rejoin", "--run", run, "--host", host, *["--ended"] * ended]
        os.execve(sys.executable, again, {**os.environ, **tags, **title.room(TAGS_ROOM)})
    try:
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        lock = take_lock(folder)
        state = state_of(folder).get("state")
        if state not in (("lost", "stopped", "failed") if ended else ("lost",)):
            raise ValueError(f"the run is {state} here: only a host that was cut off can come back")
        if lead_of(folder, spec).leader == host:
            raise ValueError("this host led the run: nobody else knows how far it was")
        processes.end(folder, grace_s=0.0)  # of the supervisor that is gone
        (folder / "stop.json").unlink(missing_ok=True)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return _refuse(stdout, error)
    supervisor = functools.partial(Supervisor, spec, folder, received=received, listener=None, anew=True)
    return _leave_behind(supervisor, folder, lock, stdout)


def _refuse(stdout: TextIO, error: Exception) -> int:
    print(json.dumps({"ok": False, "error": str(error)}), file=stdout, flush=True)
    return 1


def _leave_behind(make: Callable[[], Supervisor], folder: Path, lock: int, stdout: TextIO) -> int:
    """Fork the supervisor's process, and answer what it says of its start."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            _stay(make(), folder, lock, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        line = answer.readline() or json.dumps({"ok": False, "error": "the supervisor ended before it had started"})
    print(line.strip(), file=stdout, flush=True)
    return 0 if json.loads(line)["ok"] else 1


def _stay(supervisor: Supervisor, folder: Path, lock: int, writer: int) -> None:
    """The supervisor's process: never returns. It may go on with the next run when this one has ended."""
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
            except (OSError, ValueError, KeyError, TypeError) as error:
                give_up(folder, error)
                raise
            os.close(lock)
            supervisor, folder, lock = begun.supervisor, begun.folder, begun.lock
            _log_to(folder)
            supervisor.run(lambda: None)
        code = 0
    except BaseException as error:  # noqa: BLE001 - nobody above: it goes to supervisor.log, and to the starter
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
