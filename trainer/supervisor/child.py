"""One process that a supervisor starts: a rank, or the coordinator.

>>> child = spawn(folder, "rank_2", words_here(spec, ["rank", "--member", "2"]), env=env)
>>> child.code                       # None while it lives
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from motley.trainer.contract.spec import Member, Spec
from motley.trainer.host import process_title, processes, rank_environment
from motley.trainer.host.paths import run_folder
from motley.trainer.light_dataclass import light_dataclass
from motley.trainer.supervisor.output_files import OutputFile

if TYPE_CHECKING:
    import subprocess


class Child:
    """`code` is None while it lives; negative when a signal ended it. `pid` is None until it was forked."""

    def __init__(
        self,
        pid: int | None,
        output: OutputFile,
        *,
        start: int | None = None,
        process: subprocess.Popen[bytes] | None = None,
        member: Member | None = None,
        anew: bool = False,
    ) -> None:
        self.pid = pid
        self.output = output
        self.start = start
        self.process = process  # of one that was executed
        self.contained = False  # `process` is the client of a container runtime
        self.member = member
        self.anew = anew  # it comes to a run under way
        self.code: int | None = None
        self.began = time.monotonic()
        self.started = 1  # how often within a short time, this time included
        self.again_at: float | None = None  # monotonic, when it is to be started once more

    @property
    def cut_short(self) -> bool:
        """A client that TERM itself has ended: it did not hand it on yet, and its container may yet be made."""
        return self.contained and self.process is not None and self.process.returncode == -signal.SIGTERM

    def ended(self, status: int) -> None:
        """With this status of `waitpid`."""
        code = os.waitstatus_to_exitcode(status)
        if self.process is not None:
            self.process.returncode = code
        if self.contained:
            from motley.trainer.supervisor.container_commands import exit_code

            code = exit_code(code)
        self.code = code


def pids(children: Iterable[Child | None]) -> list[int]:
    """Of those that live."""
    return [child.pid for child in children if child is not None and child.code is None and child.pid is not None]


def words_here(spec: Spec, words: Sequence[str]) -> list[str]:
    """What starts `python -m motley.trainer WORDS` of the run on this host."""
    return [sys.executable, "-m", "motley.trainer", words[0], "--run", spec.run, "--host", spec.host, *words[1:]]


def spawn(
    folder: Path, name: str, argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> Child:
    """Fork and exec with the output into our files; it dies with us. Called from the main thread only."""
    import subprocess  # most hosts only fork

    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    alone = threading.active_count() == 1  # but for an emulated host (`trainer.supervisor.duty_cycle`)
    process = subprocess.Popen(
        argv if alone else processes.dying_with(os.getpid(), argv),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env=env,
        start_new_session=True,
        pass_fds=pass_fds,
        preexec_fn=processes.die_with(os.getpid()) if alone else None,
    )
    os.close(writer)
    output = OutputFile(folder, name, reader)
    return Child(process.pid, output, start=processes.start_ticks(process.pid), process=process)


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the environment of every rank of a run on a host depends on. Known before the run's spec is."""

    run: str
    host: str
    env: dict[str, str]
    threads: int | None
    local_ranks: int
    emulated: bool

    @classmethod
    def of(cls, spec: Spec) -> Given:
        return cls(
            run=spec.run, host=spec.host, env=spec.env, threads=spec.options.threads,
            local_ranks=len(spec.local_members), emulated=spec.emulated,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        env = rank_environment.of_rank(
            self.env, threads=self.threads, local_ranks=self.local_ranks, emulated=self.emulated
        )  # fmt: skip
        env.pop(process_title.ROOM, None)
        folder = run_folder(self.run, self.host)
        return {**env, **processes.tags(self.run, self.host, folder), "PYTHONUNBUFFERED": "1"}


def environment_of(spec: Spec, member: Member | None, *, received: float) -> dict[str, str]:
    """What a rank finds in its environment; the coordinator (no `member`) gets the same but for its rank."""
    env = {**Given.of(spec).environment(), "MOTLEY_SPAWNED": repr(received)}
    if member is not None:
        env |= {
            "RANK": str(member.member),
            "LOCAL_RANK": str(member.local_rank),
            "WORLD_SIZE": str(len(spec.members)),
            "LOCAL_WORLD_SIZE": str(len(spec.local_members)),
        }
    return env
