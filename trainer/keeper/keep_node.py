"""Keeps a node of a Slurm job: starts the commands that consoles send, and ends when nothing is left to do.

A step of Slurm's ends with all that it has started, however it was detached. So a command that comes by a step of its
own (`ask_keeper`) is started here, in the step that lasts as long as the job, with the standard streams that it hands
over. What detaches itself from a command, as a supervisor does, becomes a child of this process.

In a job that was started again it takes up the run that was under way: for that it is told the run, the hosts of its
class, which of them leads and where, and how often the job was started anew.

    python3 -c TEXT motley-4711 600 30 night fast-1,fast-2 fast-1 10.0.0.7 1
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import re
import select
import shlex
import signal
import socket
import struct
import sys
import time
from typing import Any

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
MOST = 1 << 20  # bytes of a command
GRACE_S = 2.0  # from SIGHUP to SIGKILL for a command whose console has gone


class Keeper:
    """`patience_s`: how long it waits for the first run, `idle_s`: for anything after one, with no process left."""

    def __init__(self, name: str, patience_s: float, idle_s: float) -> None:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self._patience_s, self._idle_s = patience_s, idle_s
        self._commands: dict[int, socket.socket] = {}  # pid -> the socket that its end is told to
        self._gone: dict[int, float] = {}  # pid of a command that nobody waits for -> when it is killed
        self._kept = False  # a process has outlived its command
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind("\0" + name)  # no file: homes may be shared, and a job that is killed leaves none
        self._listener.listen(64)
        self._environment = environment()
        reader, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._woken = reader
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end_soon)
        signal.signal(signal.SIGUSR1, self._warn)

    def start(self, line: str, log: str) -> None:
        """A command that nobody has asked for; what it says goes to a file."""
        streams = [os.open(os.devnull, os.O_RDONLY)]
        streams += [os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) for _ in range(2)]
        if os.fork() == 0:
            become(line, streams, self._environment)
        for stream in streams:
            os.close(stream)

    def run(self) -> None:
        quiet = time.monotonic()
        while True:
            children = self._reap()
            if self._commands or children:
                quiet = time.monotonic()
                self._kept = self._kept or not self._commands
            elif time.monotonic() - quiet > (self._idle_s if self._kept else self._patience_s):
                return
            waiting = {connection: pid for pid, connection in self._commands.items()}
            sources: list[Any] = [self._listener, self._woken, *waiting]
            ready = select.select(sources, [], [], 1.0)[0]
            if self._woken in ready:
                os.read(self._woken, 4096)
            for connection in ready:
                if connection in waiting:
                    self._lost(waiting[connection])
            if self._listener in ready:
                self._accept()

    def _end_soon(self, *_: object) -> None:
        """The job is cancelled, or its time is over: all have heard it, and Slurm kills what is left after a while.

        A keeper that ended before the others would take that time from them.
        """
        self._patience_s = self._idle_s = 0.0

    def _warn(self, *_: object) -> None:
        """The job ends soon. Supervisors are told; nobody else is who would end by it.

        Where the job is started again, nothing comes after the run here.
        """
        if os.environ.get("MOTLEY_REQUEUE"):
            self._patience_s = self._idle_s = 0.0
        for pid in heeding(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGUSR1)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != os.getuid():
            connection.close()
            return
        connection.settimeout(10.0)
        try:
            line, streams = received(connection)
        except (OSError, ValueError):
            connection.close()
            return
        pid = os.fork()
        if pid == 0:
            become(line, streams, self._environment)
        for stream in streams:
            os.close(stream)
        self._commands[pid] = connection

    def _lost(self, pid: int) -> None:
        """The step that waits for the command has ended."""
        self._commands.pop(pid).close()
        self._gone[pid] = time.monotonic() + GRACE_S
        tell(pid, signal.SIGHUP)

    def _reap(self) -> bool:
        """Whether there are children, after those that have ended were told of."""
        for pid, ends in list(self._gone.items()):
            if time.monotonic() > ends:
                tell(pid, signal.SIGKILL)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._gone.pop(pid, None)
            connection = self._commands.pop(pid, None)
            if connection is not None:
                code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                with contextlib.suppress(OSError):
                    connection.sendall(b"%d\n" % code)
                connection.close()


def received(connection: socket.socket) -> tuple[str, list[int]]:
    """A command line for sh, and the descriptors of its three streams."""
    size = struct.calcsize("3i")
    data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(size))
    streams = [fd for _, _, content in ancillary for fd in struct.unpack("3i", content[:size])]
    while not data.endswith(b"\0"):
        more = connection.recv(65536)
        if not more or len(data) > MOST:
            raise ValueError("no whole command")
        data += more
    if len(streams) != 3:
        raise ValueError("no streams")
    return data[:-1].decode(), streams


def become(line: str, streams: list[int], variables: dict[str, str]) -> None:
    """Never returns."""
    try:
        os.setsid()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.closerange(3, 256)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(variables["HOME"])
        os.execve("/bin/sh", ["/bin/sh", "-c", line], variables)
    except OSError as error:
        os.write(2, str(error).encode())
    finally:
        os._exit(127)


def tell(pid: int, number: int) -> None:
    """The command's whole group; what has left it lives on."""
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def environment() -> dict[str, str]:
    """The job's, as a login here would have it: libraries that find SLURM_PROCID take the run for one of Slurm's."""
    user = pwd.getpwuid(os.getuid())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PMI", "SBATCH"))}
    own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell or "/bin/sh"}
    return dict(kept, **own)


def heeding(parent: int) -> list[int]:
    """Its children that catch SIGUSR1."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/status") as file:
                status = dict(re.findall(r"^(PPid|SigCgt):\s*(\S+)", file.read(), re.MULTILINE))
            if status.get("PPid") == str(parent) and int(status["SigCgt"], 16) >> (signal.SIGUSR1 - 1) & 1:
                found.append(int(name))
    return found


def going_on(home: str, run: str, hosts: str, leader: str, address: str, restarts: str) -> tuple[str, str] | None:
    """The command that takes up this node's part of the run, and the file for what it says; None where this home has
    nothing of it. The node is the one of the class that `SLURM_NODEID` says."""
    host = hosts.split(",")[int(os.environ["SLURM_NODEID"])]
    folder = f"{home}/.motley/runs/{run}/{host}"
    try:
        with open(f"{folder}/state.json") as file:
            state = json.load(file)
        words = [state["python"], "-m", "motley.trainer", "requeued", "--run", run, "--host", host]
        words += ["--leader", leader, "--address", address, "--restarts", restarts]
        return f"cd {shlex.quote(state['code'])} && exec {' '.join(map(shlex.quote, words))}", f"{folder}/requeued.log"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(name: str, patience_s: str, idle_s: str, *run: str) -> None:
    keeper = Keeper(name, float(patience_s), float(idle_s))
    if run and run[-1] != "0" and (found := going_on(environment()["HOME"], *run)):
        keeper.start(*found)
    keeper.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
