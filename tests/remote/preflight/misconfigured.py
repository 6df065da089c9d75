"""A host to be set up wrongly, and the table of ways to do that with what `motley check` must say of each.

The ways are in `wrong_way_in` and `wrong_inside`, run by test_misconfigurations.py. Each is injected as the host itself
would show it. Where that is impossible on a test machine, `stand_in` says what stands for what; the programs that look
at it are the real ones all the same.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.remote.conftest import know
from tests.remote.sshd import Sshd
from tests.support.ports import free_pair


class Box:
    """A host on a real sshd, made wrong by the methods; `keys` are its lines in cluster.toml."""

    def __init__(self, folder: Path, home: Path, make_sshd: Callable[..., Sshd], held: ExitStack) -> None:
        self.folder = folder
        self.user_home = home
        self.held = held  # processes and sockets, ended after the test
        self.keys: dict[str, object] = {"address": "127.0.0.1", "python": sys.executable}
        self.cluster: list[str] = []  # further lines of cluster.toml
        self.leads = False
        self.alone = False  # without a host that is in order
        self.port = free_pair()  # a script takes the next one too
        self._make_sshd = make_sshd
        self._sshd: Sshd | None = None
        self._options: list[str] = []

    def serve(self, *options: str, known: bool = True) -> Sshd:
        """The sshd of this host, started with the first call."""
        if self._sshd is None:
            self._sshd = self._make_sshd(*options)
            if known:
                know(self.user_home, self._sshd)
            self.keys = {"port": self._sshd.port, "identity": str(self._sshd.user_key), **self.keys}
        return self._sshd

    def python(self, *lines: str) -> None:
        """Its Python is started by a script that does this first."""
        script = self.folder / "python"
        script.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(sys.executable)} "$@"', ""]))
        script.chmod(0o755)
        self.keys["python"] = str(script)

    def module(self, path: str, text: str) -> str:
        """A file that its Python finds before all others; returns the line of shell that makes it so."""
        file = self.folder / "modules" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return f"export PYTHONPATH={shlex.quote(str(self.folder / 'modules'))}"

    def torch(self, version: str, cuda: str = "") -> str:
        """The files of another torch, as far as its version is read from them."""
        self.module("torch/__init__.py", "")
        self.module("torch/version.py", f"__version__ = '{version}'\ncuda = {cuda or None!r}\n")
        return self.module(f"torch-{version}.dist-info/METADATA", f"Name: torch\nVersion: {version}\n")

    def nvidia_smi(self, gpus: str, apps: str = "", code: int = 0, *, generations: str = "") -> str:
        """A program of that name which answers this."""
        file = self.folder / "bin" / "nvidia-smi"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"#!/bin/sh\ncase $1 in\n--query-compute-apps*) echo {shlex.quote(apps)};;\n"
            f"*compute_cap*) echo {shlex.quote(generations)};;\n*) echo {shlex.quote(gpus)};;\n"
            f"esac\nexit {code}\n"
        )
        file.chmod(0o755)
        return f"export PATH={shlex.quote(str(file.parent))}:$PATH"

    def start(self, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        """A process that runs on that host already."""
        process = subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE)
        self.held.callback(_end, process)
        return process

    def listen(self, **env: str) -> None:
        """A process that listens on the port where the ranks are to meet."""
        code = "import socket, sys, time; s = socket.create_server(('', int(sys.argv[1])))"
        process = self.start(sys.executable, "-c", f"{code}; print(flush=True); time.sleep(60)", str(self.port), **env)
        assert process.stdout is not None
        process.stdout.readline()

    def tags(self, run: str, host: str) -> dict[str, str]:
        """The environment of a process of a run, in which the host had that name."""
        folder = self.serve().home / ".motley/runs" / run / host
        folder.mkdir(parents=True)
        return {"MOTLEY_RUN": run, "MOTLEY_HOST": host, "MOTLEY_DIR": str(folder)}


Inject = Callable[[Box], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`cause` and `remedy` are parts of what is said; `command` is one to paste, within the remedy."""

    name: str
    check: str
    inject: Inject
    cause: str
    remedy: str = ""
    command: str = ""
    level: str = "error"
    besides: tuple[str, ...] = field(default=())  # what else comes with it
    stand_in: str = ""


CASES: list[Case] = []


def case(
    check: str,
    cause: str,
    *,
    remedy: str = "",
    command: str = "",
    level: str = "error",
    besides: tuple[str, ...] = (),
    stand_in: str = "",
) -> Callable[[Inject], Inject]:
    def keep(inject: Inject) -> Inject:
        name = inject.__name__.strip("_").replace("_", " ")
        CASES.append(
            Case(
                name=name, check=check, inject=inject, cause=cause, remedy=remedy, command=command, level=level,
                besides=besides, stand_in=stand_in,
            )
        )  # fmt: skip
        return inject

    return keep


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
