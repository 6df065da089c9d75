"""From an SSH session to a process that outlives it: lock, double fork, own session, one line of answer.

`python -m trainer supervise` calls `supervise`; what runs in the end is `trainer.supervisor.Supervisor`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO, TextIO

from trainer.folders import run_folder
from trainer.spec import Spec
from trainer.supervisor import Supervisor


def supervise(stdin: BinaryIO, stdout: TextIO) -> int:
    """Read a spec, leave a supervisor behind, answer `{"ok": true, "pid": …}` or `{"ok": false, "error": …}`."""
    received = time.time()
    try:
        spec = Spec.from_json(stdin.read())
        folder = run_folder(spec.run, spec.host)
        lock = take_lock(folder)
        listener = listen(spec) if spec.is_leader else None
        keep_spec(folder, spec)
    except (ValueError, KeyError, TypeError, OSError) as error:
        print(json.dumps({"ok": False, "error": str(error)}), file=stdout, flush=True)
        return 1
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            _stay(Supervisor(spec, folder, received=received, listener=listener), folder, lock, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        line = answer.readline() or json.dumps({"ok": False, "error": "the supervisor ended before it had started"})
    print(line.strip(), file=stdout, flush=True)
    return 0 if json.loads(line)["ok"] else 1


def take_lock(folder: Path) -> int:
    """The lock of the run on this host, held as long as the descriptor is open. Raises OSError when another has it."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise OSError(f"a supervisor of this run is at work on this host already ({folder})") from error
    return lock


def keep_spec(folder: Path, spec: Spec) -> None:
    """Write `spec.json`, readable by the user only. Raises FileExistsError when the name was used before."""
    path = folder / "spec.json"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(f"run {spec.run} is on this host already ({folder}): choose another name") from None
    with os.fdopen(handle, "w") as file:
        file.write(spec.to_json())
    (folder / "checkpoints").mkdir(exist_ok=True)


def listen(spec: Spec) -> socket.socket:
    """The coordinator's socket, bound here so that a port in use is known before anything runs. Raises OSError."""
    family = socket.AF_INET6 if ":" in spec.leader_address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((spec.leader_address, spec.port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"can't listen on {spec.leader_address}:{spec.port} ({error.strerror}): is another run at work there? "
            f"`motley status` shows it; `--set cluster.port={spec.port + 1}` takes another port"
        ) from error
    listener.listen(1024)
    return listener


def _stay(supervisor: Supervisor, folder: Path, lock: int, writer: int) -> None:
    """The supervisor's process: never returns."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(folder / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)

    def ready() -> None:
        os.write(writer, json.dumps({"ok": True, "pid": os.getpid()}).encode() + b"\n")
        os.close(writer)

    code = 1
    try:
        supervisor.run(ready)
        code = 0
    except BaseException as error:  # noqa: BLE001 - nobody above: it goes to supervisor.log, and to the starter
        traceback.print_exc()
        if isinstance(error, OSError):
            os.write(writer, json.dumps({"ok": False, "error": str(error)}).encode() + b"\n")
    finally:
        sys.stderr.flush()
        os.close(lock)
        os._exit(code)
