"""Containers of pods: processes of this machine in a mount, pid and uts namespace of their own, in the pod's network.

What is mounted lies in a tmpfs of the container's, in which everything else of this machine is found as it is. When its
first process ends, the kernel ends the others; when the test's process ends, the kernel ends all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motley.trainer.host import processes
from tests.lab.network import Namespace

COMMANDS = ("unshare", "nsenter", "setpriv", "chroot", "mount")
MARK = "KUBERNETES_OF_THE_TESTS"  # a variable of every process in a container
OWN = {"proc"}  # of /, which is no part of the machine's
KILLED = 128


@functools.cache
def why_not() -> str | None:
    """Why there can be no containers here; None when there can."""
    missing = [command for command in COMMANDS if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"pods need {', '.join(missing)} of util-linux and coreutils"
    trial = ["unshare", "--mount", "--pid", "--uts", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    return f"pods need root: {done.stderr.strip()}" if done.returncode else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a container is made of."""

    words: Sequence[str]
    env: Mapping[str, str]
    mounts: Mapping[str, Path]  # by where they are mounted
    memory_mounts: Sequence[str]
    hostname: str
    folder: Path  # of the container's own files
    etc: Mapping[str, Path]  # files that stand for those of this name in /etc
    namespace: Namespace | None = None  # of its network; None: this machine's
    workdir: str = "/"


class Container:
    """A running one. `output` gives what it prints, standard error included."""

    def __init__(
        self, process: subprocess.Popen[bytes], image: Image, output: asyncio.StreamReader, pipe: asyncio.ReadTransport
    ) -> None:
        self._process, self._image, self.output, self._pipe = process, image, output, pipe
        self._pidfd = os.pidfd_open(process.pid)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    @property
    def pid(self) -> int | None:
        """Of its first process; None when it has ended."""
        return next(iter(processes.children(self._process.pid)), None)

    def signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """All of its processes, at once."""
        self.signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """When it returns, nothing of it is left."""
        self.kill()
        await self.ended
        self._pipe.close()

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if not self.ended.done():
            self.ended.set_result(code if code >= 0 else KILLED - code)

    async def exec(self, words: Sequence[str], *, with_input: bool) -> asyncio.subprocess.Process:
        """A further process in it. Raises ProcessLookupError when it has ended."""
        if (pid := self.pid) is None or self.ended.done():
            raise ProcessLookupError
        return await asyncio.create_subprocess_exec(
            "nsenter", "--target", str(pid), "--mount", "--pid", "--uts", "--net", "--root", "--wd", "--", *words,
            env=dict(self._image.env), stdin=asyncio.subprocess.PIPE if with_input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip


async def start(image: Image) -> Container:
    """Until its command begins. Raises OSError when its namespaces can't be made."""
    image.folder.mkdir(parents=True, exist_ok=True)
    script = image.folder / "start.sh"
    script.write_text(_script(image))
    ready, told = os.pipe()  # its standard input at first, into which it says that all is mounted
    output, into = os.pipe()
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
    words += ["sh", str(script)]
    try:
        process = subprocess.Popen(
            image.namespace.enter(words) if image.namespace else words, env=dict(image.env), stdin=told, stdout=into,
            stderr=into, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(told)
        os.close(into)
    container = Container(process, image, *(await _reader(output)))
    reader, transport = await _reader(ready)
    word = await reader.read(1)
    transport.close()
    if not word:
        said = (await container.output.read()).decode(errors="replace").strip()
        raise OSError(f"the container did not start: {said}")
    return container


async def _reader(fd: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    return reader, transport


def _script(image: Image) -> str:
    """What the first process does before it becomes the command."""
    q = shlex.quote
    root = q(str(image.folder / "root"))
    names = [entry for entry in os.scandir("/") if entry.name not in OWN]
    folders = [entry.name for entry in names if entry.is_dir(follow_symlinks=False)]
    links = [(entry.name, os.readlink(entry.path)) for entry in names if entry.is_symlink()]
    own = [path for path in (*image.mounts, *image.memory_mounts) if not path.startswith("/dev")]
    places = " ".join(q(f"{image.folder}/root/{path.strip('/')}") for path in (*folders, *OWN, *own))
    lines = ["set -e", f"hostname {q(image.hostname)}", f"mkdir -p {root}", f"mount -t tmpfs tmpfs {root}"]
    lines.append(f"mkdir -p {places}")
    lines += [f"ln -s {q(target)} {root}/{q(name)}" for name, target in links]
    lines += [f"mount --rbind /{q(name)} {root}/{q(name)}" for name in folders if name != "sys" or not image.namespace]
    if image.namespace:  # with the cards of its own network
        lines += [f"mount -t sysfs sysfs {root}/sys", f"mount --rbind /sys/fs/cgroup {root}/sys/fs/cgroup"]
    lines.append(f"mount -t proc proc {root}/proc")
    lines += [f"mount --bind {q(str(folder))} {root}{q(path)}" for path, folder in image.mounts.items()]
    lines += [f"mount -t tmpfs tmpfs {root}{q(path)}" for path in image.memory_mounts]
    # From inside, where a link among them leads to a file of this root.
    lines += [f"chroot {root} mount --bind {q(str(file))} /etc/{name}" for name, file in image.etc.items()]
    command = " ".join(map(q, image.words))
    lines.append(f'exec chroot {root} sh -c \'cd "$0"; echo >&0; exec "$@" </dev/null\' {q(image.workdir)} {command}')
    return "\n".join(lines) + "\n"


def marked(value: str) -> list[int]:
    """Pids of all processes of this machine that are in a container of this mark."""
    wanted = f"{MARK}={value}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return [pid for pid in found if processes.start_ticks(pid) is not None]


def python_folder(folder: Path, python: str) -> Path:
    """Has the `python3` of a container: this one."""
    folder.mkdir(parents=True)
    (folder / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
    (folder / "python3").chmod(0o755)
    return folder
