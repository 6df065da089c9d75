"""An SSH server on loopback that takes a password, which sshd without PAM can't do: for the tests of `motley keys`.

    async with ByPassword(folder, "secret") as server:
        server.port, server.home, server.tried

Keys count too, those in `~/.ssh/authorized_keys` of its home folder, as sshd reads it. Commands run there for real.
"""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from types import TracebackType

import asyncssh

from motley.remote.ssh.demo_hosts import _Commands
from tests.support.ports import free_pair


class ByPassword:
    def __init__(self, folder: Path, password: str | None, *, heeds_keys: bool = True) -> None:
        """`password` None: it lets nobody in by password."""
        self.home = folder / "home"
        self.home.mkdir(parents=True, mode=0o775)
        self.user = getpass.getuser()
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.tried: list[str] = []  # passwords
        self.password = password
        self.heeds_keys = heeds_keys
        self._listener: asyncssh.SSHAcceptor | None = None

    async def __aenter__(self) -> ByPassword:
        self.port = free_pair()
        ending: set[asyncio.Task[None]] = set()
        self._listener = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Login(self),
            server_host_keys=[self.host_key],
            process_factory=_Commands(self.home, self.user, ending).serve,
            encoding=None,
            line_editor=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._listener.wait_closed()

    @property
    def authorized(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"


class _Login(asyncssh.SSHServer):
    def __init__(self, server: ByPassword) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, _username: str) -> bool:
        assert self._connection is not None
        if self._server.authorized.exists() and self._server.heeds_keys:
            self._connection.set_authorized_keys(str(self._server.authorized))
        return True

    def connection_requested(self, _host: str, _port: int, _orig_host: str, _orig_port: int) -> bool:
        return True  # it may be a jump host

    def password_auth_supported(self) -> bool:
        return self._server.password is not None

    def validate_password(self, _username: str, password: str) -> bool:
        self._server.tried.append(password)
        return password == self._server.password
