"""A node of a Slurm job as a connection: each command is a step of the job, asked for on the login node.

`srun` brings its standard streams there, and `trainer.keeper.ask_keeper` hands them to the node's keeper, which starts
the command: what detaches itself from it lives on when the step has ended.

    >>> connection = await SlurmConnection.open(host, cluster.slurm, dialer)
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from motley.remote.config.cluster import Host, SlurmNode, SlurmOptions
from motley.remote.errors import CommandFailed, Unreachable
from motley.remote.hosts.login_node import LoginNode, login_node
from motley.remote.ssh.commands import Commands
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import login_line, plain_line
from motley.trainer import keeper

KEEPER_S = 5  # for a keeper to answer: it is there, or has ended
NO_NODE = "A node is there as long as a run is: `motley run` asks for one, `motley status` shows what there is."
GONE = "squeue --me shows whether the job goes on; the others of the run do without it."
_STEP_ENDED = re.compile(
    r"srun: error: .*(?:node failure|socket timed out|invalid job id|job has expired|already completed|step aborted|"
    r"requested node|invalid node|unable to (?:create step|confirm allocation|contact)|not ready for job|"
    r"communication connection failure|job/step already completing)",
    re.IGNORECASE,
)


class SlurmProcess(RemoteProcess):
    """A command on a node. What srun says of the step is no word of the command's."""

    async def wait(self) -> int:
        code = await super().wait()
        if code and (found := _STEP_ENDED.search(self.stderr_tail)):
            raise Unreachable(self._host, f"the step ended: {found[0]}", GONE)
        return code

    async def _never_began(self, head: bytes) -> CommandFailed | Unreachable:
        error = await super()._never_began(head)
        said = next((line for line in reversed(self.stderr_tail.splitlines()) if line.strip()), "nothing")
        return error if isinstance(error, Unreachable) else Unreachable(self._host, f"no command begins: {said}", GONE)


class SlurmConnection(Commands):
    """`SlurmConnection.open` makes it, with a connection of its own to the login node."""

    def __init__(self, host: Host, about: SlurmNode, gate: LoginNode) -> None:
        super().__init__(host)
        self._about = about
        self._gate = gate

    @classmethod
    async def open(cls, host: Host, options: SlurmOptions | None, dialer: Dialer) -> SlurmConnection:
        """Raises Unreachable for a host that has no node yet, and what `login_node` does."""
        if host.slurm is not None and host.slurm.job and not host.slurm.node:
            raise Unreachable(host.name, f"job {host.slurm.job} has lost its node", GONE)
        if host.slurm is None or options is None or not host.slurm.node:
            raise Unreachable(host.name, "it is no node of Slurm's at the moment", NO_NODE)
        return cls(host, host.slurm, await login_node(options, host.name, dialer))

    @property
    def is_open(self) -> bool:
        return self._gate.is_open

    @property
    def own_address(self) -> None:
        """Nodes do not see this machine."""
        return

    async def lost(self) -> str:
        return await self._gate.lost()

    async def close(self) -> None:
        await self._gate.close()

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AsyncIterator[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block ends its step."""
        words = step(self._about, self.host.python or "python3", login_line(argv, cwd))
        line = plain_line(words, login=not self._gate.host.way.here)
        async with self._gate.stream_line(line, SlurmProcess) as process:
            yield process


def step(about: SlurmNode, python: str, line: str) -> list[str]:
    """The command that runs a line for sh on the node. It takes nothing of what the job has there but a place."""
    component = [f"--het-group={about.group}"] if about.group is not None else []
    ours = [f"motley-{about.job}", str(KEEPER_S), line]
    return [
        "srun", f"--jobid={about.job}", *component, f"--nodelist={about.node}", "--nodes=1", "--ntasks=1", "--overlap",
        "--mem=0", "--gres=none", "--quiet", "--export=ALL", "sh", "-c", _WITH_HOME, python, _asking(), *ours,
    ]  # fmt: skip


_WITH_HOME = """p=$0; case $p in "~/"*) p=$HOME/${p#"~/"};; esac; a=$1; shift; exec "$p" -c "$a" "$@\""""


@cache
def _asking() -> str:
    """The program in one line: a login shell may not carry more."""
    text = (Path(keeper.__file__).parent / "ask_keeper.py").read_bytes()
    return f"import base64;exec(base64.b64decode('{base64.b64encode(text).decode()}'))"
