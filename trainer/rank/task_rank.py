"""The process of one rank: say hello, import torch, join the group, train, say how it ended.

Started by the supervisor as `python -m motley.trainer rank`. torch is imported inside `_run`, after the hello, so that
the others can be told what this rank is doing meanwhile. What it shares with a script's rank is in
`trainer.rank.member_process`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.host.error_place import place
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.paths import project_folder
from motley.trainer.host.rank_progress import position_of_main_thread
from motley.trainer.rank import member_process
from motley.trainer.rank.collective_errors import broken_by, is_broken_collective, refused
from motley.trainer.rank.coordinator_client import HEARD_S, CoordinatorClient
from motley.trainer.rank.group_sockets import GroupSockets
from motley.trainer.rank.member_process import MemberProcess, Stopped, imported_s

if TYPE_CHECKING:
    from motley.trainer.rank.job_setup import PreparedJob
    from motley.trainer.training.job import Job, StopFlag


class TaskRank(MemberProcess):
    """One member on this host that trains the run's task."""

    def __init__(self, spec: Spec, member: Member, folder: Path, *, anew: bool = False) -> None:
        """`anew`: the run goes on already; its state comes from the others."""
        super().__init__(spec, member, folder)
        self._anew = anew
        self._flag: StopFlag | None = None
        self._prepared: PreparedJob | None = None
        self._job: Job | None = None  # while it trains in a group
        self._broke = ""  # how the last group did, where this rank saw it

    def _run(self, client: CoordinatorClient, spawn_s: float) -> int:
        client.over = self._over
        client.stuck = self._stuck
        self._phase("importing torch")
        began = time.monotonic()

        from motley.trainer.rank import job_setup, process_group
        from motley.trainer.training.job import StopFlag

        times = {"spawn_s": spawn_s, "import_s": imported_s() + time.monotonic() - began}
        self._phase("loading data")
        prepared = job_setup.prepare(self.spec, self.member, self.folder, self.journal, client, anew=self._anew)
        self._prepared = prepared
        client.data = prepared.local.told_in(prepared.data.fingerprint()).to_table()
        self._phase("joining")
        self._flag = StopFlag(asked=self._asked)
        sockets = GroupSockets(keep=client.fileno)
        while True:
            listener = process_group.listen(prepared.address)
            store = (prepared.address, int(listener.getsockname()[1]))
            kept = prepared.kept
            with_group = client.ready(
                times=times,
                store=store,
                step=kept.step,
                term=kept.term,
                leader=kept.leader,
                generation=kept.generation,
                broke=self._broke,
                save=lambda cut_off: self._hold(prepared, cut_off=cut_off),
            )
            self._keep(with_group.roll)
            self._broke = ""
            sockets.about_to_open()
            if client.guard(with_group.generation, sockets.shut):
                state = self._one_group(client, prepared, with_group, listener, sockets)
                if state == "finished":
                    return self._ended(Exit.FINISHED, state, heard_s=HEARD_S)
                if state is not None:
                    return self._ended(Exit.STOPPED, state)
            client.let_go()
            listener.close()
            process_group.leave()
            if self._asked:
                return self._ended(Exit.STOPPED, "stopped")

    def _one_group(
        self,
        client: CoordinatorClient,
        prepared: PreparedJob,
        with_group: Group,
        listener: socket.socket,
        sockets: GroupSockets,
    ) -> str | None:
        """Train in one group: the end state, or None when the group broke or was let go of. Keeps nothing of it."""
        from motley.trainer.rank import job_setup, process_group
        from motley.trainer.training.loop import abort, train

        assert self._flag is not None
        job = None
        try:
            job = job_setup.join(prepared, with_group, listener, client, self._flag)
            sockets.opened(process_group.addresses(prepared.address))
            client.joined()
            self._job = job
            self._phase("training", tell=False)
            world = with_group.world_size
            print(f"rank {with_group.rank} of {world} on {self.spec.host}: {prepared.describe()}", flush=True)
            state = train(job)
            if state is not None:
                return state
        except Exception as error:
            if (refusal := refused(error)) is not None:
                raise refusal from None
            if not is_broken_collective(error):
                raise
            client.let_go()
            # Its traceback holds on to the group, and so to the group's sockets.
            self._broke = broken_by(error)
            self._leaves_broken(self._broke)
            if job is not None:
                abort(job)
        if job is not None:
            prepared.kept.keep(job)
        self._job = None
        return None

    def _stuck(self) -> None:
        """The main thread hangs in a group that broke, and nothing frees it: a new process goes on with its state."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # else the others have it
            if self._prepared is not None:
                self._prepared.leave_behind(self._job)
        text = f"rank {self.member.member} hangs in a group that has broken: its process starts again"
        self.journal.write("note", text, "warning", at=position_of_main_thread())
        os._exit(Exit.STUCK)

    def _hold(self, prepared: PreparedJob, *, cut_off: bool) -> None:
        """The wait for a group may be long, or in vain."""
        prepared.save()
        if not cut_off:
            return
        step = prepared.kept.step
        self._tell_cut_off(
            f"waits with the state of step {step}", step=step, generation=prepared.kept.generation,
            address=prepared.address,
        )  # fmt: skip

    def _failed(self, error: Exception) -> int:
        from motley.trainer.errors import TrainerError, told

        cause, remedy = told(error)
        own = self.spec.own_task
        if own is not None and own.tree and not isinstance(error, TrainerError):  # from the model, most likely
            cause = f"{place(error, project_folder(own.tree))}: {cause}"
        member = self.member.member
        self.journal.write("fault", f"rank {member}: {cause}", member=member, error=cause, remedy=remedy)
        if isinstance(error, TrainerError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return self._ended(Exit.FAILED, "failed")

    def _on_term(self, *_: object) -> None:
        self._asked = True
        if self._flag is None:
            raise Stopped
        self._flag.asked = True


def preload() -> None:
    """Import what a rank needs, in a process that ranks are forked from: no thread is started, no device touched."""
    import torch

    from motley.trainer.contract.spec import RunOptions
    from motley.trainer.optimize.optimizer import make_optimizer
    from motley.trainer.rank import job_setup, process_group  # noqa: F401
    from motley.trainer.training.loop import train  # noqa: F401

    make_optimizer(RunOptions(), torch.nn.Linear(1, 1))  # the first one imports as much as torch itself


def main(run: str, host: str, member: int, *, anew: bool) -> int:
    """`anew`: the run goes on already; its state comes from the others."""
    return member_process.run(run, host, member, functools.partial(TaskRank, anew=anew))
