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

from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.wire import Phase
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import run_folder
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import CoordinatorLost, JoinError


class Stopped(BaseException):
    """TERM came while there was nothing to end."""


class MemberProcess(ABC):
    """One member on this host, from its first line to its exit code."""

    def __init__(self, spec: Spec, member: Member, folder: Path) -> None:
        self.spec = spec
        self.member = member
        self.folder = folder
        self.journal = Journal(folder, host=spec.host, source=f"rank {member.member}")
        self._client: CoordinatorClient | None = None  # None: it has not answered yet
        self._leaving = False  # the last word is said

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
            self.journal.write("note", f"rank {self.member.member}: {error}", "error")
            print(error, file=sys.stderr)
            return self._ended(Exit.PEER_LOST, "lost")
        except JoinError as error:
            return self._not_joined(error)
        except Exception as error:  # noqa: BLE001 - told apart, printed and turned into an exit code
            return self._failed(error)

    def _begin(self) -> None:  # noqa: B027 - for a task it is nothing
        """What comes before the first call."""

    @abstractmethod
    def _run(self, client: CoordinatorClient, spawn_s: float) -> int:
        """From the first answer to the last word: the exit code. `spawn_s`: how long the start of the process took."""

    @abstractmethod
    def _not_joined(self, error: JoinError) -> int:
        """The run is over, or began without this member."""

    @abstractmethod
    def _failed(self, error: Exception) -> int:
        """Called where the error is handled, so that its traceback can be printed."""

    @abstractmethod
    def _on_term(self, *_: object) -> None: ...

    def _ended(self, code: int, state: str) -> int:
        """The last word, and the exit code that tells the supervisor how the run ended here."""
        self._leaving = True
        if self._client is not None:
            self._client.ended(state)
        sys.stderr.flush()
        return code

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
