"""The process of one rank: say hello, import torch, join the group, train, say how it ended.

Started by the supervisor as `python -m trainer rank`. torch is imported inside `main`, after the hello, so that the
others can be told what this rank is doing meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.exits import Exit
from trainer.folders import run_folder
from trainer.journal import Journal
from trainer.membership import JoinError, Membership
from trainer.spec import Member, Spec
from trainer.wire import Phase

if TYPE_CHECKING:
    from trainer.loop import StopFlag

OVER_S = 1.0  # from the word that the run is over to leaving, if the main thread does not leave by itself
STOP_FOLLOWS_S = 3.0  # a peer that left because of a stop leaves before our own TERM comes, by so much at most


class Stopped(BaseException):
    """TERM came before the training began."""


class Rank:
    """One member on this host, from its first line to its exit code."""

    def __init__(self, spec: Spec, member: Member, folder: Path) -> None:
        self.spec = spec
        self.member = member
        self.folder = folder
        self.journal = Journal(folder, host=spec.host, source=f"rank {member.member}")
        self.line: Membership | None = None
        self.flag: StopFlag | None = None
        self._asked = False
        self._gone = False

    def main(self) -> Exit:
        """Run to the end; the traceback of a failure goes to standard error, where the supervisor finds it."""
        signal.signal(signal.SIGTERM, self._on_term)
        spawned = float(os.environ.get("MOTLEY_SPAWNED", time.time()))
        spawn_s = max(0.0, time.time() - spawned)
        try:
            self._phase("connecting")
            self.line = Membership.dial(
                self.spec, member=self.member.member, deadline_s=self.spec.options.join_timeout_s
            )
            return self._train(spawn_s)
        except Stopped:
            return self._ended(Exit.STOPPED, "stopped")
        except JoinError as error:
            print(error, file=sys.stderr)
            self.journal.write("note", str(error), "error")
            return self._ended(Exit.GAVE_UP, "failed")
        except Exception as error:  # noqa: BLE001 - told apart, printed and turned into an exit code
            return self._failed(error)

    def _train(self, spawn_s: float) -> Exit:
        assert self.line is not None
        self._phase("importing torch")
        began = time.monotonic()

        from trainer import setup
        from trainer.loop import StopFlag, train

        import_s = time.monotonic() - began
        self._phase("loading data")
        prepared = setup.prepare(self.spec, self.member, self.folder, self.journal)
        self._phase("joining")
        group = self.line.ready(times={"spawn_s": spawn_s, "import_s": import_s}, store=prepared.store)
        self.flag = StopFlag(asked=self._asked)
        job = setup.join(prepared, group, self.line, self.flag)
        self.line.joined()
        self.line.watch(self._over)
        self._phase("training", tell=False)
        print(f"rank {group.rank} of {group.world_size} on {self.spec.host}: {prepared.describe()}", flush=True)
        state = train(job)
        return self._ended(Exit.FINISHED if state == "finished" else Exit.STOPPED, state)

    def _failed(self, error: Exception) -> Exit:
        """Ours, or only the echo of another's end? A collective that breaks is an echo."""
        from torch.distributed import DistError

        from trainer.errors import TrainerError

        peer_lost = isinstance(error, DistError) or _is_broken_collective(error)
        if peer_lost:
            deadline = time.monotonic() + STOP_FOLLOWS_S
            while not self._asked and time.monotonic() < deadline:
                time.sleep(0.02)
            if self._asked:
                return self._ended(Exit.STOPPED, "stopped")
        if isinstance(error, TrainerError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return self._ended(Exit.PEER_LOST if peer_lost else Exit.FAILED, "failed")

    def _ended(self, code: Exit, state: str) -> Exit:
        self._gone = True
        if self.line is not None:
            try:
                self.line.ended(state)
            except JoinError as error:  # the coordinator went first
                print(error, file=sys.stderr)
        sys.stderr.flush()
        return code

    def _over(self, reason: str) -> None:
        """The run was ended elsewhere. The main thread may hang in a collective: leave it a moment, then go."""
        time.sleep(OVER_S)
        if not self._gone:
            self.journal.write("note", f"rank {self.member.member} leaves: {reason}", "warning")
            print(f"leaving: {reason}", file=sys.stderr, flush=True)
            os._exit(Exit.STOPPED if self._asked else Exit.PEER_LOST)

    def _phase(self, phase: Phase, *, tell: bool = True) -> None:
        self.journal.write("phase", f"rank {self.member.member}: {phase}", member=self.member.member, phase=phase)
        if tell and self.line is not None:
            self.line.phase(phase)

    def _on_term(self, *_: object) -> None:
        self._asked = True
        if self.flag is None:
            raise Stopped
        self.flag.asked = True


def _is_broken_collective(error: Exception) -> bool:
    """gloo raises plain RuntimeErrors that name its sources; a timeout of a collective names the group."""
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text or "Connection closed by peer" in text)


def main(run: str, host: str, member: int) -> int:
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    mine = next(m for m in spec.local_members if m.member == member)
    code = Rank(spec, mine, folder).main()
    sys.stdout.flush()
    os._exit(code)  # threads of gloo may still wait for peers that have gone
