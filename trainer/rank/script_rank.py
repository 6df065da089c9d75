"""A rank of the user's own script: the process that starts it, watches it, and starts it anew after a loss.

Started by the supervisor as `python -m trainer script`, once for each device. It is a member of the run as a rank of a
task is: it calls the coordinator, is told who takes part, and starts `python SCRIPT ARGS` in the pushed project, with
torchrun's environment and its own output. When the coordinator says so, or is not to be reached any more, it ends the
script and says that it is ready for the next start. Standard library only, and asleep while the script runs.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Literal, NamedTuple

from trainer import processes
from trainer.call import JoinError
from trainer.exits import Exit
from trainer.folders import run_folder
from trainer.interface import use_interface
from trainer.journal import Journal
from trainer.lead import lead_of
from trainer.membership import CoordinatorLost, Group, Membership
from trainer.spec import Member, Script, Spec
from trainer.torchrun import environment
from trainer.wire import Phase

BROKEN_GRACE_S = 2.0  # for a script whose group is broken: what it does now is of no use
OVER_S = 1.0  # from the word that there will be no start to the word how the run ended


class Stopped(BaseException):
    """TERM came while nothing ran."""


class _Word(NamedTuple):
    """What other threads and the signal handler tell the main thread."""

    kind: Literal["ended", "broken", "over", "term"]
    generation: int = -1
    state: str = ""


class ScriptRank:
    """One member on this host, from its first line to its exit code."""

    def __init__(self, spec: Spec, script: Script, member: Member, folder: Path) -> None:
        self.spec = spec
        self.script = script
        self.member = member
        self.folder = folder
        self.journal = Journal(folder, host=spec.host, source=f"rank {member.member}")
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._running = False
        self._line: Membership | None = None
        self._told_broken = -1
        self._address = ""  # of this host in the cluster
        self._term = self._generation = -1
        self._code: int | None = None  # of the script, once it has ended

    def main(self) -> int:
        """Run to the end. What is wrong goes to standard error, where the supervisor finds it."""
        signal.signal(signal.SIGTERM, self._on_term)
        spawn_s = max(0.0, time.time() - float(os.environ.get("MOTLEY_SPAWNED", time.time())))
        try:
            self._end_tagged()  # of a process in our place that was killed
            self._phase("connecting")
            limit_s = self.spec.options.join_timeout_s
            self._line = Membership.dial(self.spec, member=self.member.member, deadline_s=limit_s, where=self._leader)
            self._line.over = lambda _text, state: self._words.put(_Word("over", state=state))
            return self._attempts(self._line, {"spawn_s": spawn_s, "import_s": 0.0})
        except Stopped:
            return self._leave("stopped")
        except CoordinatorLost as error:
            self.journal.write("note", f"rank {self.member.member}: {error}", "error")
            print(error, file=sys.stderr)
            return self._leave("cut off")
        except JoinError as error:
            state = self._how_it_is_over()
            if state is None:
                print(error, file=sys.stderr)
            return self._leave(state or "lost")
        except Exception:  # noqa: BLE001 - printed, and turned into an exit code
            traceback.print_exc()
            return self._leave("failed")

    def _attempts(self, line: Membership, times: dict[str, float]) -> int:
        while True:
            self._phase("joining")
            self._address = address = line.address
            group = line.ready(
                times=times, store=(address, self.script.port), step=0, term=self._term, generation=self._generation,
                save=self._hold,
            )  # fmt: skip
            self._term, self._generation = group.term, group.generation
            self._running, self._code = True, None
            state = self._one_attempt(line, group, address)
            self._running = False
            if state is not None:
                return self._leave(state)

    def _one_attempt(self, line: Membership, group: Group, address: str) -> str | None:
        """From a start of the script to its end: the state of the run, or None when it is to be started anew."""
        if not line.guard(group.generation, lambda: self._on_broken(group.generation)):
            return None
        process = self._start(group, address)
        line.joined()
        self._phase("training", tell=False)
        while True:
            word = self._words.get()
            match word.kind:
                case "ended" if word.generation == group.generation:
                    self._code = process.wait()
                    if self._code:
                        self._tell_of_fault(self._code)
                    line.exited(group.generation, self._code)
                case "broken" if word.generation == group.generation:
                    self._end(process, min(BROKEN_GRACE_S, self.spec.options.stop_grace_s))
                    return None
                case "over":
                    self._end(process, self.spec.options.stop_grace_s)
                    return word.state
                case "term":
                    process.terminate()
                    process.wait()  # the supervisor waits for us no longer than stop_grace_s
                    return "stopped"

    def _start(self, group: Group, address: str) -> subprocess.Popen[bytes]:
        """Fork and exec the script, from the main thread. Its output goes where ours goes."""
        env = {**os.environ, **environment(self.spec, group, self.member.member)}
        use_interface(address, env)
        process = subprocess.Popen(
            [sys.executable, self.script.path, *self.script.args],
            cwd=Path.home() / ".motley" / "code" / self.script.tree,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
            preexec_fn=processes.die_with(os.getpid()),
        )

        def watch() -> None:
            process.wait()
            self._words.put(_Word("ended", group.generation))

        threading.Thread(target=watch, name="script", daemon=True).start()
        return process

    def _end(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        """End the script, and whatever it has started."""
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._end_tagged()

    def _end_tagged(self) -> None:
        processes.end(self.folder, grace_s=0.0, also={"MOTLEY_MEMBER": str(self.member.member)})

    def _leave(self, state: str) -> int:
        """The last word, and the exit code that tells the supervisor how the run ended here."""
        self._running = True  # a TERM changes nothing any more
        if self._line is not None:
            self._line.ended({"lost": "failed", "cut off": "lost"}.get(state, state))
        if state == "failed" and self._code:
            return self._code if self._code > 0 else 128 - self._code
        return {
            "finished": Exit.FINISHED,
            "stopped": Exit.STOPPED,
            "cut off": Exit.PEER_LOST,
            "lost": Exit.GAVE_UP,
        }.get(state, Exit.FAILED)

    def _how_it_is_over(self) -> str | None:
        """The state that the coordinator tells of right after it has said that there will be no start."""
        deadline = time.monotonic() + OVER_S
        with contextlib.suppress(queue.Empty):
            while True:
                word = self._words.get(timeout=max(0.0, deadline - time.monotonic()))
                if word.kind == "over":
                    return word.state
        return None

    def _leader(self) -> tuple[str, int]:
        lead = lead_of(self.folder, self.spec)
        return lead.address, lead.port

    def _hold(self, cut_off: bool) -> None:
        """The wait for the next start may be long. When the leader is gone, the console names another one."""
        if cut_off:
            term = lead_of(self.folder, self.spec).term
            self.journal.write(
                "cut_off", f"rank {self.member.member} waits for a leader", "warning",
                member=self.member.member, step=0, term=term, generation=self._generation, address=self._address,
            )  # fmt: skip

    def _tell_of_fault(self, code: int) -> None:
        """At once: this process ends only when it is known whose fault it was."""
        member = self.member.member
        self.journal.write("fault", f"rank {member}: the script ended with code {code}", member=member, code=code)

    def _phase(self, phase: Phase, *, tell: bool = True) -> None:
        self.journal.write("phase", f"rank {self.member.member}: {phase}", member=self.member.member, phase=phase)
        if tell and self._line is not None:
            self._line.phase(phase)

    def _on_broken(self, generation: int) -> None:
        """Called again and again by the threads of the line, once the group is broken."""
        if self._told_broken < generation:
            self._told_broken = generation
            self._words.put(_Word("broken", generation))

    def _on_term(self, *_: object) -> None:
        if not self._running:
            raise Stopped
        self._words.put(_Word("term"))


def main(run: str, host: str, member: int) -> int:
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    assert spec.script is not None
    mine = next(m for m in spec.local_members if m.member == member)
    code = ScriptRank(spec, spec.script, mine, folder).main()
    sys.stdout.flush()
    os._exit(code)  # the threads of the line may still be waiting
