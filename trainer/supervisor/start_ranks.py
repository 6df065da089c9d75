"""Starts the processes of a run on its host: ranks of a task are forked, the coordinator and scripts are executed.

The supervisor owns one. A rank that can't be forked is executed, and imports torch by itself; so is one that runs in a
container, where nothing of this host can be forked.

    >>> starter = RankStarter(spec, folder, received=time.time(), watch=register)
    >>> child = starter.rank(member, anew=False)
    >>> child.pid                        # None until `hear` has heard that it was forked
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from motley.trainer.contract.spec import Container, Member, Spec
from motley.trainer.host import processes, unwritten
from motley.trainer.host.exit_codes import Exit
from motley.trainer.supervisor import task_or_script
from motley.trainer.supervisor.child import Child, Given, environment_of, spawn, words_here
from motley.trainer.supervisor.forkserver_client import ForkserverClient
from motley.trainer.supervisor.output_files import OutputFile


class RankStarter:
    def __init__(
        self,
        spec: Spec,
        folder: Path,
        *,
        received: float,
        watch: Callable[[OutputFile], object],
        forks: ForkserverClient | None = None,
    ) -> None:
        """`watch` is called for everything whose output is to be kept. `forks`: of the run before this one."""
        self._spec = spec
        self._folder = folder
        self._received = received
        self._watch = watch
        self._coming: dict[int, Child] = {}  # by ticket
        self._strangers: dict[int, int] = {}  # statuses of processes that ended before anybody told of them
        self._tickets = 0
        self.forks = forks
        if forks is None and spec.script is None and spec.container is None and spec.local_members:
            self.forks = ForkserverClient.start(spec.run, spec.host, Given.of(spec).environment())

    def coordinator(self, listening: int) -> Child:
        return self._execute("coordinator", ["coordinate", "--listen-fd", str(listening)], None, listening)

    def rank(self, member: Member, *, anew: bool) -> Child:
        if self.forks is None:
            return self._execute_rank(member, anew=anew)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        verb, *words = task_or_script.command(self._spec, member, anew=anew)
        words = [verb, "--run", self._spec.run, "--host", self._spec.host, *words]
        env = environment_of(self._spec, member, received=self._received)
        self._tickets += 1
        asked = self.forks.ask(self._tickets, words, env, writer, member=member.member)
        os.close(writer)
        if not asked:
            os.close(reader)
            return self._execute_rank(member, anew=anew)
        child = Child(None, OutputFile(self._folder, f"rank_{member.member}", reader), member=member, anew=anew)
        self._watch(child.output)
        self._coming[self._tickets] = child
        return child

    def hear(self) -> list[Child]:
        """What the fork server says: ranks are there. Returns those of them that have ended already."""
        forks, over = self.forks, []
        if forks is None:
            return []
        for ticket, pid in forks.answers():
            child = self._coming.pop(ticket, None)
            if child is None:
                continue
            if pid is None:
                self._instead(child)
                continue
            child.pid, child.start = pid, processes.start_ticks(pid)
            if pid in self._strangers:
                child.ended(self._strangers.pop(pid))
                over.append(child)
        if forks.gone:
            self._lose(forks)
        return over

    def reaped(self, pid: int, status: int) -> None:
        """A process has ended that is none of the ranks that are known by now."""
        if self.forks is not None and pid == self.forks.pid:
            self.forks.reaped()
        elif self._coming:
            self._strangers[pid] = status

    def is_forking(self) -> bool:
        """Whether a rank was asked for of which nobody has told yet."""
        return bool(self._coming)

    def keep(self) -> ForkserverClient | None:
        """The fork server when ranks could be forked from it right now: for the next run."""
        return self.forks if not self._coming else None

    def end(self) -> None:
        """Start nothing more: end the fork server, and what it has not forked yet counts as stopped."""
        for child in self._coming.values():
            child.code = Exit.STOPPED
        self._coming.clear()
        if self.forks is not None:
            self.forks.close()
            self.forks = None

    def _lose(self, forks: ForkserverClient) -> None:
        """It has ended by itself, or was killed."""
        print("the fork server has ended: ranks import torch by themselves from now on", file=sys.stderr, flush=True)
        forks.close()
        self.forks = None
        for child in self._coming.values():
            self._instead(child)
        self._coming.clear()

    def _instead(self, child: Child) -> None:
        """Execute a rank that was not forked, or of which nobody told."""
        assert child.member is not None
        processes.end(self._folder, grace_s=0.0, also={"RANK": str(child.member.member)})
        executed = self._execute_rank(child.member, anew=child.anew)
        child.pid, child.output, child.start, child.process = (
            executed.pid, executed.output, executed.start, executed.process,
        )  # fmt: skip

    def _execute_rank(self, member: Member, *, anew: bool) -> Child:
        name, words = f"rank_{member.member}", task_or_script.command(self._spec, member, anew=anew)
        if self._spec.container is None:
            child = self._execute(name, words, member)
        else:
            child = self._contain(name, words, member, self._spec.container, anew=anew)
        child.anew = anew
        return child

    def _contain(self, name: str, words: list[str], member: Member, container: Container, *, anew: bool) -> Child:
        from motley.trainer.supervisor import containers

        if anew:  # of what was started before, only the client may have ended
            try:
                containers.end(container.runtime, self._folder, member=member.member)
            except OSError as error:
                print(error, file=sys.stderr, flush=True)
        env = environment_of(self._spec, member, received=self._received)
        argv, env = containers.of_rank(self._spec, self._folder, words, member, env)
        return self._spawned(spawn(self._folder, name, argv, env=env), member, contained=True)

    def _execute(self, name: str, words: list[str], member: Member | None, *pass_fds: int) -> Child:
        env = {**environment_of(self._spec, member, received=self._received), **unwritten.handed_on()}
        return self._spawned(
            spawn(self._folder, name, words_here(self._spec, words), env=env, pass_fds=pass_fds), member
        )

    def _spawned(self, child: Child, member: Member | None, *, contained: bool = False) -> Child:
        child.member, child.contained = member, contained
        self._watch(child.output)
        return child
