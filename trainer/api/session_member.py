"""The script's process as a member of the run: its line to the coordinator, the groups that it is in, how it ends.

As `trainer.rank.task_rank` for a process whose main program is the user's. `trainer.api.run_peers` calls it.

>>> me = SessionMember(folder, member=2)
>>> group, listener = me.next_group(kept, hold)     # leaves the last one; ends the process when the run is over
>>> me.fail(error)
"""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import torch

from motley.trainer.api.ranks import in_collective
from motley.trainer.balance.own_policy import Policy, load_policy
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Spec
from motley.trainer.errors import TrainerError, told
from motley.trainer.host.error_place import place
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.rank_progress import position_of_main_thread
from motley.trainer.optimize.device import use_device
from motley.trainer.rank import network_interface, process_group
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from motley.trainer.rank.group_sockets import GroupSockets
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.member_process import RunMember
from motley.trainer.training.job import StopFlag

T = TypeVar("T")


class SessionMember(RunMember):
    def __init__(self, folder: Path, number: int, project: Path) -> None:
        """Call the run's coordinator. `project`: the folder of the user's files. Ends the process when none answers."""
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        super().__init__(spec, next(m for m in spec.local_members if m.member == number), folder)
        self.stop = StopFlag()
        self.in_loop = False  # TERM is looked at before each step; else it ends the script at once
        self._project = project
        self._figures = FiguresFile(folder, lambda text: self.journal.write("note", text, "warning"))
        self._spawn_s = max(0.0, time.time() - float(os.environ.get("MOTLEY_SPAWNED", time.time())))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_term)
        gc.freeze()  # what was imported stays: `process_group.leave` need not look at it in each regroup
        self._phase("connecting")
        try:
            self.client = CoordinatorClient.dial(
                spec, member=number, deadline_s=spec.options.join_timeout_s, where=self._leader, session=True
            )
        except JoinError as error:
            raise SystemExit(self._not_in_a_group(error)) from None
        self._client = self.client
        self.client.over, self.client.stuck = self._over, self._stuck
        self.address = self.client.address  # of this host in the cluster
        network_interface.use_interface(self.address)
        self._sockets = GroupSockets(keep=self.client.fileno)
        self._listener: socket.socket | None = None
        self.broken = False  # the group is, by what the coordinator says
        self._broke = ""  # how the last group did, where this rank saw it
        self._phase("loading data")

    def device(self) -> torch.device:
        """What this rank computes on. Raises SystemExit when torch can't use it."""
        return self._or_fail(lambda: use_device(self.member.device))

    def own_policy(self) -> Policy | None:
        """A policy of the user's own, that the batch is shared out by. Raises SystemExit when it can't be loaded."""
        own = self.spec.own_policy
        return self._or_fail(lambda: load_policy(own, self.spec.balance.policy) if own is not None else None)

    def _or_fail(self, make: Callable[[], T]) -> T:
        """What is to be had before the first step, or the run's end."""
        try:
            return make()
        except TrainerError as error:
            print(error, file=sys.stderr)
            self.fail(error)
            raise SystemExit(Exit.FAILED) from None

    def next_group(self, kept: KeptState, hold: Callable[[bool], None]) -> tuple[Group, socket.socket]:
        """Leave the group of before, wait for the next: it, and the socket for its store. The group is to be made next.

        `kept`: the state to go on from. `hold` is called when the wait may be long (`CoordinatorClient.ready`). Raises
        SystemExit when the run is over.
        """
        if self._leaving:
            raise SystemExit(Exit.GAVE_UP)
        while True:
            self._let_go()
            if self.stop.asked:
                self.leave_stopped()
            self._listener = listener = process_group.listen(self.address)
            try:
                group = self.client.ready(
                    times={"spawn_s": self._spawn_s, "import_s": 0.0},
                    store=(self.address, int(listener.getsockname()[1])), step=kept.step, term=kept.term,
                    leader=kept.leader, generation=kept.generation, broke=self._broke, save=hold,
                )  # fmt: skip
            except JoinError as error:
                raise SystemExit(self._not_in_a_group(error)) from None
            self._keep(group.roll)
            self._broke = ""
            kept.term, kept.leader, kept.generation = group.term, group.leader, group.generation
            if group.stale:
                kept.discard()
            self._sockets.about_to_open()
            self.broken = False
            if self.client.guard(group.generation, self._free):
                return group, listener

    @property
    def gone(self) -> bool:
        """The last word is said."""
        return self._leaving

    def made(self) -> None:
        """The group is: what is opened from now on is none of its sockets. A collective."""
        self._sockets.opened(process_group.addresses(self.address))
        self.client.joined()

    def broke(self, error: str) -> None:
        self.client.let_go()
        self._broke = error
        self._leaves_broken(error)

    def tell_cut_off(self, kept: KeptState) -> None:
        self._tell_cut_off(
            f"waits with the state of step {kept.step}", step=kept.step, generation=kept.generation,
            address=self.address,
        )  # fmt: skip

    def trains(self, text: str) -> None:
        self._phase("training", tell=False)
        print(text, flush=True)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """What the user has logged in a step, into the run's folder."""
        self._figures.write(step, figures)

    def leave_stopped(self) -> NoReturn:
        raise SystemExit(self._ended(Exit.STOPPED, "stopped"))

    def finish(self) -> None:
        """The script has come to its own end. Said before tidying up, which may take longer than silence is borne."""
        if not self._leaving:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the interpreter's own end may take a while, too
            self._ended(Exit.FINISHED, "finished")
            self._let_go()

    def fail(self, error: BaseException) -> None:
        """The script ends with an error that it did not catch."""
        if self._leaving:
            return
        cause, remedy = told(error) if isinstance(error, Exception) else (type(error).__name__, "")
        if not isinstance(error, TrainerError):
            cause = f"{place(error, self._project)}: {cause}"
        number = self.member.member
        self.journal.write("fault", f"rank {number}: {cause}", member=number, error=cause, remedy=remedy)
        self._ended(Exit.FAILED, "failed")

    def _let_go(self) -> None:
        self.client.let_go()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        process_group.leave()

    def _free(self) -> None:
        """The group is broken: who waits in it is woken, who computes looks at `broken`."""
        self.broken = True
        self._sockets.shut()

    def _stuck(self) -> None:
        """The main thread hangs in a group that broke, and nothing frees it: the others have the state. What computes
        for long does not hang: it finds out when it needs the others."""
        if not in_collective.is_set():
            return
        text = f"rank {self.member.member} hangs in a group that has broken: its script starts again"
        self.journal.write("note", text, "warning", at=position_of_main_thread())
        sys.stdout.flush()
        os._exit(Exit.STUCK)

    def _on_term(self, *_: object) -> None:
        self._asked = self.stop.asked = True
        if not self.in_loop:  # who has said its last word is asked by a supervisor that has seen the run's end
            raise SystemExit(self._exit_code if self._leaving else self._ended(Exit.STOPPED, "stopped"))


class FiguresFile:
    """`log.jsonl` of a run's folder: a line a step of what `run.log` was given, one write a line.

    On a full disk the line is lost, not the run: `tell` hears that once, and again when lines are written again.
    """

    def __init__(self, folder: Path, tell: Callable[[str], object]) -> None:
        self._path, self._tell = folder / "log.jsonl", tell
        self._missed = 0  # lines in a row

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        known = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        line = json.dumps({"step": step, "time": time.time(), **known}).encode() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if not self._missed:
                self._tell(f"run.log: figures are not written to {self._path} ({error.strerror}): make room there")
            self._missed += 1
            return
        if self._missed:
            lines = f"{self._missed} line{'s are' if self._missed != 1 else ' is'} missing"
            self._tell(f"run.log: figures are written again; {lines}")
        self._missed = 0

    def _append(self, line: bytes) -> None:
        """Raises OSError, also for a line that is written in part: the next one begins on its own."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = bool(size) and os.pread(descriptor, 1, size - 1) != b"\n"
            line = b"\n" + line if torn else line
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
