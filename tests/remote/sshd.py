"""Debian's sshd on loopback for the tests of `remote`: own host key, port and authorized keys, ended by its pid.

    with Sshd(folder) as sshd:
        sshd.port, sshd.user, sshd.user_key, sshd.known_line

Sessions have a home folder of their own under `folder`. tests/remote/conftest.py gives it as the fixture `sshd`.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from tests.support.ports import free_pair

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def why_not() -> str:
    """Why there is no sshd to test with; empty when there is."""
    return "" if os.access(SSHD, os.X_OK) else "no sshd on this machine: apt-get install openssh-server"


def make_key(path: Path, kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


class Sshd:
    def __init__(self, folder: Path, *options: str) -> None:
        """`options`: lines of sshd_config."""
        folder.mkdir(parents=True, exist_ok=True)
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.user = getpass.getuser()
        self.host_key = make_key(folder / "host_key")
        self.user_key = make_key(folder / "user_key")
        (folder / "authorized_keys").write_bytes(self.user_key.with_suffix(".pub").read_bytes())
        self.port = 0
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sshd:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start without it
        self.port = free_pair()
        config = self._folder / "sshd_config"
        lines = [
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self._folder / 'authorized_keys'}",
            f"SetEnv HOME={self.home}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "LogLevel VERBOSE",
            *self._options,
        ]
        config.write_text("\n".join(lines) + "\n")
        self._log = open(self._folder / "log", "wb")  # closed in __exit__
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=self._log, text=True)
        self._await_banner()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(5)
        self._log.close()

    @property
    def known_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.host_key.with_suffix('.pub').read_text()}"

    @property
    def fingerprint(self) -> str:
        listed = subprocess.run(["ssh-keygen", "-lf", str(self.host_key)], check=True, capture_output=True, text=True)
        return listed.stdout.split()[1]

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def _await_banner(self) -> None:
        assert self._process is not None
        for _ in range(100):
            with socket.socket() as probe:
                probe.settimeout(5)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0 and probe.recv(4) == b"SSH-":
                    return
            try:
                code = self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"sshd ended with {code}: {self.log}")
        raise AssertionError(f"sshd did not come up: {self.log}")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
