"""The login node of a Slurm cluster, where its commands are: another machine over SSH, or this one.

>>> gate = await login_node(cluster.slurm, "fast-1", dialer)
>>> (await command(gate, ["squeue", "--me"], timeout_s=10)).stdout
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Union

from motley.remote.config.cluster import Host, SlurmOptions
from motley.remote.hosts.local_connection import LocalConnection
from motley.remote.quoting import pasteable
from motley.remote.ssh.commands import Result
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.shell import ssh_words

LoginNode = Union[SSHConnection, LocalConnection]


async def login_node(options: SlurmOptions, name: str, dialer: Dialer) -> LoginNode:
    """A connection; its errors name `name`. Raises a HostError."""
    if options.address is None:
        return await LocalConnection.open(Host(name=name, address="", connect="local"), dict(os.environ))
    host = Host(
        name=name, address=options.address, user=options.user, port=options.port, identity=options.identity,
        jump=options.jump,
    )  # fmt: skip
    return await SSHConnection.open(host, dialer)


async def command(gate: LoginNode, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Result:
    """One of Slurm's commands to its end. On another machine with what a login shell sets: clusters have their commands
    on its PATH. Raises as `Connection.run` does."""
    login = [] if gate.host.way.here else ["sh", "-lc", 'exec "$0" "$@"']
    return await gate.run([*login, *argv], stdin=stdin, timeout_s=timeout_s)


def to_paste(options: SlurmOptions, argv: Sequence[str]) -> str:
    """The same for the user's terminal."""
    if options.address is None:
        return pasteable(argv)
    words = ssh_words(
        options.address, user=options.user, port=options.port, identity=options.identity, jump=options.jump
    )
    return pasteable(["ssh", *words, pasteable(argv)])
