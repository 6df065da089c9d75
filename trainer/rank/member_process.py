"""The process of one member, whether it trains a task or starts a script: what is the same about both.

It calls the coordinator, says which phase it is in, does its part, and says how it ended. `trainer.rank.task_rank` and
`trainer.rank.script_rank` are the two kinds. Standard library only: the first call goes out before torch is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.wire import Phase
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import run_folder
from motley.trainer.host.run_members import keep
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import CoordinatorLost, JoinError, RunOver

OVER_S = 1.0  # from the word that the run is over to leaving, if the main thread does not leave by itself
STOP_FOLLOWS_S = 3.0  # a peer that left because of a stop leaves before our own TERM comes, by so much at most


class Stopped(BaseException):
    """TERM came while there was nothing to end."""


class RunMember:
    """One member of a run on this host: what it says to its host's journal and to the coordinator."""

    def __init__(self, spec: Spec, member: Member, folder: Path) -> None:
        self.spec = spec
        self.member = member
        self.folder = folder
        self.journal = Journal(folder, host=spec.host, source=f"rank {member.member}")
        self._client: CoordinatorClient | None = None  # None: it has not answered yet
        self._leaving = False  # the last word is said
        self._exit_code = 0  # that goes with it
        self._asked = False  # to leave, by TERM

    def _ended(self, code: int, state: str, *, heard_s: float = 0.0) -> int:
        """The last word, which waits `heard_s` for a coordinator that has heard it, and the exit code that tells the
        supervisor how the run ended here."""
        self._exit_code, self._leaving = code, True
        if self._client is not None:
            self._client.ended(state, heard_s=heard_s)
        sys.stderr.flush()
        return code

    def _not_in_a_group(self, error: JoinError) -> int:
        """The run is over, or goes on without this member: the exit code."""
        if isinstance(error, CoordinatorLost):
            return self._without_leader(error)
        if isinstance(error, RunOver) and error.state == "finished":
            return self._ended(Exit.FINISHED, "finished")
        if (isinstance(error, RunOver) and error.state == "stopped") or self._asked_soon():
            return self._ended(Exit.STOPPED, "stopped")
        print(error, file=sys.stderr)
        self.journal.write("note", str(error), "error")
        return self._ended(Exit.GAVE_UP, "failed")

    def _without_leader(self, error: CoordinatorLost) -> int:
        self.journal.write("note", f"rank {self.member.member}: {error}", "error")
        print(error, file=sys.stderr)
        return self._ended(Exit.PEER_LOST, "lost")

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
        if not self._leaving:
            self.journal.write("note", f"rank {self.member.member} leaves: {reason}", "warning")
            print(f"leaving: {reason}", file=sys.stderr, flush=True)
            codes = {"finished": Exit.FINISHED, "stopped": Exit.STOPPED, "failed": Exit.GAVE_UP}
            code = codes.get(state, Exit.PEER_LOST)
            os._exit(Exit.STOPPED if self._asked else code)

    def _leaves_broken(self, error: str) -> None:
        """Whose fault it was, the coordinator says: the peer whose connection closed may only have left as we do."""
        why = error if "(nccl" in error else "the connection to another rank broke"
        self.journal.write("note", f"rank {self.member.member} leaves its group: {why}", error=error)

    def _keep(self, roll: Roll) -> None:
        keep(self.folder, roll, lambda text: self.journal.write("note", text, "warning"))

    def _leader(self) -> tuple[str, int]:
        lead = lead_of(self.folder, self.spec)
        return lead.address, lead.port

    def _tell_cut_off(self, waits: str, *, step: int, generation: int, address: str) -> None:
        """The leader is not to be reached: the console names another one, by what is known here."""
        number, term = self.member.member, lead_of(self.folder, self.spec).term
        self.journal.write(
            "cut_off", f"rank {number} {waits}", "warning", member=number, step=step, term=term, generation=generation,
            address=address,
        )  # fmt: skip

    def _phase(self, phase: Phase, *, tell: bool = True) -> None:
        self.journal.write("phase", f"rank {self.member.member}: {phase}", member=self.member.member, phase=phase)
        if tell and self._client is not None:
            self._client.phase(phase)


class MemberProcess(RunMember, ABC):
    """The process of a member, from its first line to its exit code."""

    def main(self) -> int:
        """Run to the end: the exit code. What is wrong goes to standard error, where the supervisor finds it."""
        signal.signal(signal.SIGTERM, self._on_term)
        spawned = float(os.environ.get("MOTLEY_SPAWNED", time.time()))
        spawn_s = max(0.0, time.time() - spawned - imported_s())
        try:
            self._begin()
            self._phase("connecting")
            self._client = CoordinatorClient.dial(
                self.spec, member=self.member.member, deadline_s=self.spec.options.join_timeout_s, where=self._leader
            )
            return self._run(self._client, spawn_s)
        except Stopped:
            return self._ended(Exit.STOPPED, "stopped")
        except CoordinatorLost as error:
            return self._without_leader(error)
        except JoinError as error:
            return self._not_joined(error)
        except Exception as error:  # noqa: BLE001 - told apart, printed and turned into an exit code
            return self._failed(error)

    def _begin(self) -> None:
        """What comes before the first call; for a task it is nothing."""

    @abstractmethod
    def _run(self, client: CoordinatorClient, spawn_s: float) -> int:
        """From the first answer to the last word: the exit code. `spawn_s`: how long the start of the process took."""

    def _not_joined(self, error: JoinError) -> int:
        return self._not_in_a_group(error)

    @abstractmethod
    def _failed(self, error: Exception) -> int:
        """Called where the error is handled, so that its traceback can be printed."""

    @abstractmethod
    def _on_term(self, *_: object) -> None: ...


def imported_s() -> float:
    """How long this rank waited for what it was forked from to import torch; 0 when it was not forked."""
    return float(os.environ.get("MOTLEY_IMPORTED_S", "0"))


def run(run: str, host: str, member: int, make: Callable[[Spec, Member, Path], MemberProcess]) -> int:
    """The process of a member of this host, to its end: does not return. Raises OSError, ValueError for no spec."""
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    mine = next(m for m in spec.local_members if m.member == member)
    code = make(spec, mine, folder).main()
    sys.stdout.flush()
    os._exit(code)  # threads of gloo, or of the connection, may still wait for others that have gone
