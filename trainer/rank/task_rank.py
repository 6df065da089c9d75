"""The process of one rank: say hello, import torch, join the group, train, say how it ended.

Started by the supervisor as `python -m trainer rank`. torch is imported inside `main`, after the hello, so that the
others can be told what this rank is doing meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.call import JoinError
from trainer.exits import Exit
from trainer.folders import run_folder
from trainer.journal import Journal
from trainer.lead import lead_of
from trainer.membership import CoordinatorLost, Group, Membership, RunOver
from trainer.roll import keep
from trainer.sockets import GroupSockets
from trainer.spec import Member, Spec
from trainer.wire import Phase

if TYPE_CHECKING:
    from trainer.loop import Job, StopFlag
    from trainer.setup import Prepared

OVER_S = 1.0  # from the word that the run is over to leaving, if the main thread does not leave by itself
STOP_FOLLOWS_S = 3.0  # a peer that left because of a stop leaves before our own TERM comes, by so much at most


class Stopped(BaseException):
    """TERM came before the training began."""


class Rank:
    """One member on this host, from its first line to its exit code."""

    def __init__(self, spec: Spec, member: Member, folder: Path, *, anew: bool = False) -> None:
        self.spec = spec
        self.member = member
        self._anew = anew
        self.folder = folder
        self.journal = Journal(folder, host=spec.host, source=f"rank {member.member}")
        self.line: Membership | None = None
        self.flag: StopFlag | None = None
        self._prepared: Prepared | None = None
        self._job: Job | None = None  # while it trains in a group
        self._asked = False
        self._gone = False

    def main(self) -> Exit:
        """Run to the end; the traceback of a failure goes to standard error, where the supervisor finds it."""
        signal.signal(signal.SIGTERM, self._on_term)
        spawned = float(os.environ.get("MOTLEY_SPAWNED", time.time()))
        spawn_s = max(0.0, time.time() - spawned - imported_s())
        try:
            self._phase("connecting")
            self.line = Membership.dial(
                self.spec, member=self.member.member, deadline_s=self.spec.options.join_timeout_s, where=self._leader
            )
            self.line.over = self._over
            self.line.stuck = self._stuck
            return self._train(spawn_s)
        except Stopped:
            return self._ended(Exit.STOPPED, "stopped")
        except CoordinatorLost as error:
            self.journal.write("note", f"rank {self.member.member}: {error}", "error")
            print(error, file=sys.stderr)
            return self._ended(Exit.PEER_LOST, "lost")
        except JoinError as error:
            if (isinstance(error, RunOver) and error.state == "stopped") or self._asked_soon():
                return self._ended(Exit.STOPPED, "stopped")
            print(error, file=sys.stderr)
            self.journal.write("note", str(error), "error")
            return self._ended(Exit.GAVE_UP, "failed")
        except Exception as error:  # noqa: BLE001 - told apart, printed and turned into an exit code
            return self._failed(error)

    def _train(self, spawn_s: float) -> Exit:
        assert self.line is not None
        self._phase("importing torch")
        began = time.monotonic()

        from trainer import group, setup
        from trainer.loop import StopFlag

        times = {"spawn_s": spawn_s, "import_s": imported_s() + time.monotonic() - began}
        self._phase("loading data")
        prepared = setup.prepare(self.spec, self.member, self.folder, self.journal, self.line, anew=self._anew)
        self._prepared = prepared
        self._phase("joining")
        self.flag = StopFlag(asked=self._asked)
        sockets = GroupSockets(keep=self.line.fileno)
        while True:
            listener = group.listen(prepared.address)
            store = (prepared.address, int(listener.getsockname()[1]))
            kept = prepared.kept
            with_group = self.line.ready(
                times=times,
                store=store,
                step=kept.step,
                term=kept.term,
                generation=kept.generation,
                save=lambda cut_off: self._hold(prepared, cut_off=cut_off),
            )
            keep(self.folder, with_group.roll)
            sockets.about_to_open()
            if self.line.guard(with_group.generation, sockets.shut):
                state = self._one_group(prepared, with_group, listener)
                if state is not None:
                    return self._ended(Exit.FINISHED if state == "finished" else Exit.STOPPED, state)
            listener.close()
            group.leave()
            if self._asked:
                return self._ended(Exit.STOPPED, "stopped")

    def _one_group(self, prepared: Prepared, with_group: Group, listener: socket.socket) -> str | None:
        """Train in one group: the end state, or None when the group broke or was let go of. Keeps nothing of it."""
        from trainer import setup
        from trainer.loop import abort, train

        assert self.line is not None
        assert self.flag is not None
        job = None
        try:
            job = setup.join(prepared, with_group, listener, self.line, self.flag)
            self.line.joined()
            self._job = job
            self._phase("training", tell=False)
            world = with_group.world_size
            print(f"rank {with_group.rank} of {world} on {self.spec.host}: {prepared.describe()}", flush=True)
            state = train(job)
            if state is not None:
                return state
        except Exception as error:
            if not is_broken_collective(error):
                raise
            # Its traceback holds on to the group, and so to the group's sockets.
            self.journal.write("note", f"rank {self.member.member} lets go of its group: {broken_by(error)}")
            if job is not None:
                abort(job)
        self._job = None
        if job is not None:
            prepared.kept.keep(job)
        return None

    def _stuck(self) -> None:
        """The main thread hangs in a group that broke, and nothing frees it: a new process goes on with its state."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # else the others have it
            if self._prepared is not None:
                self._prepared.leave_behind(self._job)
        text = f"rank {self.member.member} hangs in a group that has broken: its process starts again"
        self.journal.write("note", text, "warning")
        os._exit(Exit.STUCK)

    def _leader(self) -> tuple[str, int]:
        lead = lead_of(self.folder, self.spec)
        return lead.address, lead.port

    def _hold(self, prepared: Prepared, *, cut_off: bool) -> None:
        """The wait for a group may be long, or in vain."""
        prepared.save()
        if not cut_off:
            return
        step, term = prepared.kept.step, lead_of(self.folder, self.spec).term
        self.journal.write(
            "cut_off", f"rank {self.member.member} waits with the state of step {step}", "warning",
            member=self.member.member, step=step, term=term, generation=prepared.kept.generation,
            address=prepared.address,
        )  # fmt: skip

    def _failed(self, error: Exception) -> Exit:
        from trainer.errors import TrainerError, told

        cause, remedy = told(error)
        member = self.member.member
        self.journal.write("fault", f"rank {member}: {cause}", member=member, error=cause, remedy=remedy)
        if isinstance(error, TrainerError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return self._ended(Exit.FAILED, "failed")

    def _ended(self, code: Exit, state: str) -> Exit:
        self._gone = True
        if self.line is not None:
            self.line.ended(state)
        sys.stderr.flush()
        return code

    def _asked_soon(self) -> bool:
        """A peer that left because of a stop may leave before our own TERM comes."""
        deadline = time.monotonic() + STOP_FOLLOWS_S
        while not self._asked and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._asked

    def _over(self, reason: str, state: str) -> None:
        """The run was ended elsewhere. The main thread may hang in a collective: leave it a moment, then go."""
        if state == "stopped":
            self._asked_soon()
        time.sleep(OVER_S)
        if not self._gone:
            self.journal.write("note", f"rank {self.member.member} leaves: {reason}", "warning")
            print(f"leaving: {reason}", file=sys.stderr, flush=True)
            code = {"finished": Exit.FINISHED, "stopped": Exit.STOPPED}.get(state, Exit.PEER_LOST)
            os._exit(Exit.STOPPED if self._asked else code)

    def _phase(self, phase: Phase, *, tell: bool = True) -> None:
        self.journal.write("phase", f"rank {self.member.member}: {phase}", member=self.member.member, phase=phase)
        if tell and self.line is not None:
            self.line.phase(phase)

    def _on_term(self, *_: object) -> None:
        self._asked = True
        if self.flag is None:
            raise Stopped
        self.flag.asked = True


def imported_s() -> float:
    """How long this rank waited for what it was forked from to import torch; 0 when it was not forked."""
    return float(os.environ.get("MOTLEY_IMPORTED_S", "0"))


def preload() -> None:
    """Import what a rank needs, in a process that ranks are forked from: no thread is started, no device touched."""
    import torch

    from trainer import group, setup  # noqa: F401
    from trainer.loop import train  # noqa: F401
    from trainer.spec import RunOptions

    setup.make_optimizer(RunOptions(), torch.nn.Linear(1, 1))  # the first one imports as much as torch itself


def broken_by(error: Exception) -> str:
    """gloo's own words, without where in its sources they stand."""
    said = str(error).splitlines()[0]
    return re.split(r"\. This (?:is|may)", said.rpartition(".cc:")[2].partition("] ")[2] or said)[0][:200]


def is_broken_collective(error: Exception) -> bool:
    """gloo raises plain RuntimeErrors that name its sources; a timeout of a collective, or of the store, names it."""
    from torch.distributed import DistError

    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "TCPStore", "tcpstore")
    text = str(error)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and any(word in text for word in words))


def main(run: str, host: str, member: int, *, anew: bool) -> int:
    """`anew`: the run goes on already; its state comes from the others."""
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    mine = next(m for m in spec.local_members if m.member == member)
    code = Rank(spec, mine, folder, anew=anew).main()
    sys.stdout.flush()
    os._exit(code)  # threads of gloo may still wait for peers that have gone
