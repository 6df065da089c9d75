"""Runs a program of `trainer.bootstrap` on a host: its text goes in on stdin, and JSON objects come back.

`remote.provision.push_code` calls it; `remote.preflight.host_inspection` holds a longer conversation. Nothing needs to
be on the host but a Python.

    >>> await call(connection, "python3", "unpack_tree", [tree.hash], payload=b"{}\\n" + tree.pack(), timeout_s=5)
    {'ok': True, 'sent': True}
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from motley.remote.answers import Answer, answer_of
from motley.remote.config.cluster import Host
from motley.remote.errors import CommandFailed
from motley.remote.hosts.reach import Connection, RemoteProcess
from motley.remote.provision.process_title_room import with_room
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean_lines
from motley.remote.ssh.shell import there
from motley.trainer import bootstrap

Name = Literal["inspect_host", "missing_files", "unpack_tree", "receive_folder", "virtualenv", "container_image"]
STRAY = 2000  # bytes of what an error shows the last line of
_PREFIX = b"motley:"
_MODULES: dict[Name, tuple[str, ...]] = {  # each after those it imports
    "inspect_host": (
        "files",
        "gpus",
        "python_and_torch",
        "leftovers",
        "login_limits",
        "network",
        "code_trees",
        "probe",
        "event_loop",
        "reachability",
        "prestart",
        "inspect_host",
    ),
    "missing_files": ("files", "code_trees", "missing_files"),
    "unpack_tree": ("files", "durable", "code_trees", "unpack_tree"),
    "receive_folder": ("files", "durable", "receive_folder"),
    "virtualenv": ("files", "durable", "long_command", "virtualenv"),
    "container_image": ("files", "long_command", "container_image"),
}
_LOAD = """
import gc, os, sys
gc.disable()  # nothing that is loaded is garbage: looking for it takes a tenth of the time
sys.path[:] = [place for place in sys.path if place]  # the home folder holds no modules
main = None
if CODE:
    place = os.path.join(os.path.expanduser("~"), CODE)
    sys.path.insert(0, place)
    import importlib
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot, open(os.path.join(place, ".motley-whole")) as stamps:
            if boot.read().strip() in stamps.read().split():  # `motley.trainer.bootstrap.code_trees`
                main = importlib.import_module(SOURCES[-1][0]).main  # it has been compiled
    except Exception:  # it is not there; what else may be wrong with it is nothing to us
        pass
if main is None:
    import types
    for name, source in SOURCES:
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    main = module.main
gc.freeze()
gc.enable()
main(sys.argv[1:], sys.stdin.buffer)
"""
_TOO_OLD = "sys.stdout.write('motley:{%spython%s: %s%s.%s.%s%s}' % (q, q, q, v[0], v[1], v[2], q))"


@functools.cache
def program(name: Name, code: str = "") -> bytes:
    """Its text: what the host's Python is sent first. A host that has the folder `code` of ours runs it from there."""
    folder = Path(next(iter(bootstrap.__path__)))
    sources = [(f"motley.trainer.bootstrap.{m}", folder.joinpath(f"{m}.py").read_text("utf-8")) for m in _MODULES[name]]
    return f"SOURCES = {sources!a}\nCODE = {code!a}\n{_LOAD}".encode()


def command(python: str, text: bytes, argv: Sequence[str] = ()) -> list[str]:
    """The command that runs a program, once it is given its text."""
    read = f"sys.stdin.buffer.read({len(text)})"
    launcher = f"import sys; v = sys.version_info; q = chr(34); exec({read} if v >= (3, 8) else {_TOO_OLD!r})"
    return [python, "-c", launcher, *argv]


async def call(
    connection: Connection,
    python: str,
    name: Name,
    argv: Sequence[str] = (),
    *,
    payload: bytes = b"",
    timeout_s: float,
    sent: Callable[[int], object] = lambda _: None,
) -> Answer:
    """`sent` hears how many bytes have gone so far, about as many as there are in `payload`.

    Raises CommandFailed when `python` is not there, does not work or answers with anything but one object.
    """
    host = connection.host.name
    text = program(name)
    result = await connection.run(command(python, text, argv), stdin=text + payload, timeout_s=timeout_s, sent=sent)
    answers = [line for line in result.stdout.split(b"\n") if line.startswith(_PREFIX)]
    if len(answers) != 1:
        stray = b"" if answers else result.stdout
        raise no_answer(connection.host, python, result.code, result.stderr, stray)
    return answer_of(host, name, answers[0][len(_PREFIX) :])


def no_answer(host: Host, python: str, code: int, stderr: str, stdout: bytes) -> CommandFailed:
    """Why a program has ended with `code` and without an answer, but perhaps with other words on stdout."""
    if code in (126, 127):
        return CommandFailed(host.name, *no_python(host, python, found=code == 126))
    said = stderr or clean_lines(stdout[-STRAY:].decode(errors="replace")).strip() or "nothing"
    trial = there(host, pasteable([python, "-c", "import json, tarfile"]))
    cause = f"{python} ended with code {code} and said: {said.splitlines()[-1]}"
    return CommandFailed(host.name, cause, f"See whether it works there: {trial}")


@asynccontextmanager
async def conversation(
    connection: Connection, python: str, name: Name, *, code: str = ""
) -> AsyncIterator[tuple[RemoteProcess, Answers]]:
    """A running program, and the objects it answers with. Leaving the block closes its stdin, which ends it.

    `code`: the folder of our code on hosts that have it, of which it may become a process. It has room for that.
    """
    text = program(name, code)
    argv = command(python, text)
    async with connection.stream(with_room(argv) if code else argv) as process:
        await process.write(text)
        try:
            yield process, Answers(connection.host.name, name, process)
        finally:
            process.close_stdin()


class Answers:
    """What a program answers, until it ends. Raises what `RemoteProcess.lines` does, CommandFailed for no object."""

    def __init__(self, host: str, name: Name, process: RemoteProcess) -> None:
        self.stray = b""  # the last words on stdout that are no answer
        self._host = host
        self._name = name
        self._lines = process.lines()

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> Answer:
        async for line in self._lines:
            if line.startswith(_PREFIX):
                return answer_of(self._host, self._name, line[len(_PREFIX) :])
            self.stray = (self.stray + line + b"\n")[-STRAY:]
        raise StopAsyncIteration

    async def after_notes(self, within_s: float | None, hear: Callable[[str], object] | None = None) -> Answer | None:
        """The next answer that is more than a note, None at the end; `hear` is told of notes.

        Raises asyncio.TimeoutError when neither comes for `within_s` seconds.
        """
        while True:
            told = await asyncio.wait_for(anext(self, None), within_s)
            if told is None or "note" not in told:
                return told
            if hear is not None:
                hear(told.text("note"))


def no_python(host: Host, python: str, *, found: bool = False) -> tuple[str, str]:
    """Cause and remedy."""
    word = pasteable([python])
    if found:
        look = there(host, f"ls -l {word}; findmnt -T {word}")
        return f"the Python {python!r} can't be run", f"See what it is, and whether its disk is mounted noexec: {look}"
    install = there(host, "sudo apt install python3")
    remedy = f"Name the one that has torch as python in cluster.toml, or install it there: {install}"
    return f"the Python {python!r} is not there", remedy
