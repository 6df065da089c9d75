"""A node of a Slurm job as a connection: each command is a step of the job, asked for on the login node.

`srun` brings its standard streams there, and `trainer.keeper.ask_keeper` hands them to the node's keeper, which starts
the command: what detaches itself from it lives on when the step has ended. A node that was lost and is back is given a
keeper once more.

    >>> connection = await SlurmConnection.open(host, cluster.slurm, dialer)
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from motley.remote.config.cluster import Host, SlurmNode, SlurmOptions
from motley.remote.errors import CommandFailed, HostError, Unreachable
from motley.remote.hosts.login_node import LoginNode, command, login_node
from motley.remote.ssh.commands import Commands
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import login_line, plain_line
from motley.trainer import keeper as programs

KEEPER_S = 5  # for a keeper to answer: it is there, or has ended
ANEW_S = 30.0  # between two attempts to give the node a keeper
PATIENCE_S, IDLE_S = 60, 30  # of such a keeper, for a command, and after the last process
ASK_S = 30.0  # for the login node to start it
NO_NODE = "A node is there as long as a run is: `motley run` asks for one, `motley status` shows what there is."
GONE = "squeue --me shows whether the job goes on; the others of the run do without it."
NO_KEEPER = "no keeper answers"  # in what `trainer.keeper.ask_keeper` says
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

    moves = True  # a job that is requeued may come back on other nodes

    def __init__(self, host: Host, about: SlurmNode, gate: LoginNode) -> None:
        super().__init__(host)
        self._about = about
        self._gate = gate
        self._kept_at = -math.inf

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
        try:
            async with self._gate.stream_line(line, SlurmProcess) as process:
                yield process
        except Unreachable as error:
            if NO_KEEPER in error.cause:
                await self._keep()
            raise

    async def _keep(self) -> None:
        """A step is started there and finds no keeper: the node was lost, and is back. Its next command may find one.

        Where there is one all the same, which was slow to answer, the second ends at once.
        """
        now = asyncio.get_running_loop().time()
        if now - self._kept_at < ANEW_S:
            return
        self._kept_at = now
        detached = ["sh", "-c", 'setsid "$0" "$@" </dev/null >/dev/null 2>&1 &']
        with contextlib.suppress(HostError):
            await command(self._gate, [*detached, *keeper(self._about, self.host.python or "python3")], timeout_s=ASK_S)


def keeper(about: SlurmNode, python: str) -> list[str]:
    """The command that keeps a node as the job's script does, for as long as somebody has use for it."""
    return [
        *_srun(about), "--no-kill", "--cpu-bind=none", "--quiet", "--export=ALL", "sh", "-c", _WITH_HOME, python,
        _program("keep_node"), _name(about), str(PATIENCE_S), str(IDLE_S),
    ]  # fmt: skip


def step(about: SlurmNode, python: str, line: str) -> list[str]:
    """The command that runs a line for sh on the node. It takes nothing of what the job has there but a place."""
    return [
        *_srun(about), "--gres=none", "--quiet", "--export=ALL", "sh", "-c", _WITH_HOME, python,
        _program("ask_keeper"), _name(about), str(KEEPER_S), line,
    ]  # fmt: skip


def _srun(about: SlurmNode) -> list[str]:
    component = [f"--het-group={about.group}"] if about.group is not None else []
    node = [f"--nodelist={about.node}", "--nodes=1", "--ntasks=1"]
    return ["srun", f"--jobid={about.job}", *component, *node, "--overlap", "--mem=0"]


def _name(about: SlurmNode) -> str:
    """Of the keeper's socket."""
    return f"motley-{about.job}"


_WITH_HOME = """p=$0; case $p in "~/"*) p=$HOME/${p#"~/"};; esac; a=$1; shift; exec "$p" -c "$a" "$@\""""


@cache
def _program(name: str) -> str:
    """Of `trainer.keeper`, in one line: a login shell may not carry more."""
    text = (Path(programs.__file__).parent / f"{name}.py").read_bytes()
    return f"import base64;exec(base64.b64decode('{base64.b64encode(text).decode()}'))"
