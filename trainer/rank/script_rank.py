"""A rank of the user's own script: the process that starts it, watches it, and starts it anew after a loss.

Started by the supervisor as `python -m motley.trainer script`, once for each device. It is a member of the run as a
rank of a task is: it calls the coordinator, is told who takes part, and starts `python SCRIPT ARGS` in the pushed
project, with torchrun's environment and its own output. When the coordinator says so, or is not to be reached any more,
it ends the script and says that it is ready for the next start. Standard library only, and asleep while the script
runs.

A script that calls `motley.session()` is the member itself from then on: it calls the coordinator, regroups in its
process, and says how it ended. This process hears of that from the coordinator, hangs up, and is only the script's
parent: it hands TERM on, and ends as the script does, with its exit code or by the same signal, so that the supervisor
starts a rank again that was killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Literal, NamedTuple

from motley.profiles.cores import usable_cores
from motley.profiles.gpu import GpuMeter
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import NO_TERM
from motley.trainer.contract.wire import Phase, Usage, encode
from motley.trainer.devices.names import nvml_device
from motley.trainer.errors import SessionError, TrainerError
from motley.trainer.host import processes
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.paths import HERE, open_next, project_folder
from motley.trainer.host.session_mark import mark
from motley.trainer.rank import member_process
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from motley.trainer.rank.member_process import MemberProcess, Stopped
from motley.trainer.rank.network_interface import use_interface
from motley.trainer.rank.torchrun_environment import environment
from motley.trainer.readings.process_usage import ProcessUsage
from motley.trainer.readings.start_mark import mark_start, wait_until_heard
from motley.trainer.results.working_folder import WORK, lay_out, resumed_folder

BROKEN_GRACE_S = 2.0  # for a script whose group is broken: what it does now is of no use
LOADING: Phase = "loading data"
TELL_S = 1.0  # between two words that it still copies
USAGE_S = 2.0  # between two looks at what it takes of its host
OVER_S = 1.0  # from the word that there will be no start to the word how the run ended


class _Word(NamedTuple):
    """What other threads and the signal handler tell the main thread."""

    kind: Literal["ended", "broken", "over", "term", "session"]
    generation: int = -1
    state: str = ""


class ScriptRank(MemberProcess):
    """One member on this host that starts the run's script."""

    def __init__(self, spec: Spec, member: Member, folder: Path) -> None:
        super().__init__(spec, member, folder)
        assert spec.script is not None
        self._script = spec.script
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._is_session = threading.Event()
        self._usage: int | None = None  # the file that it is told in
        self._running = False
        self._told_broken = -1
        self._address = ""  # of this host in the cluster
        self._term, self._leads, self._generation = NO_TERM, "", -1
        self._code: int | None = None  # of the script, once it has ended
        self._place = project_folder(self._script.tree)  # where the script works

    def _begin(self) -> None:
        self._end_tagged()  # of a process in our place that was killed
        if cause := self._script.missing(str(self._place), self._script.environment(os.environ)):
            raise SessionError(cause, f"Install {self._script.command[0]} on this host, or mend [run] command")

    def _run(self, client: CoordinatorClient, spawn_s: float) -> int:
        client.over = lambda _text, state: self._words.put(_Word("over", state=state))
        client.dismissed = lambda: self._words.put(_Word("session"))
        if self.spec.options.results:
            self._lay_out(client)
        return self._attempts(client, {"spawn_s": spawn_s, "import_s": 0.0})

    def _lay_out(self, client: CoordinatorClient) -> None:
        """Copy the project, and what it goes on from. The others hear that it is at work on it."""
        self._phase(LOADING)
        told_at = time.monotonic()

        def tick() -> None:
            nonlocal told_at
            if time.monotonic() - told_at > TELL_S:
                told_at = time.monotonic()
                client.phase(LOADING)

        try:
            self._place = lay_out(self.folder, self._place, self._script.resumed, tick=tick)
        except OSError as error:
            cause = f"the script's working folder {self.folder / WORK} could not be made: {error}"
            raise SessionError(cause, "Make room for a copy of the project there: df -h ~") from error

    def _attempts(self, client: CoordinatorClient, times: dict[str, float]) -> int:
        while True:
            self._phase("joining")
            self._address = address = client.address
            group = client.ready(
                times=times, store=(address, self._script.port), step=0, term=self._term, leader=self._leads,
                generation=self._generation, save=self._hold,
            )  # fmt: skip
            self._term, self._leads, self._generation = group.term, group.leader, group.generation
            self._running, self._code = True, None
            code = self._one_attempt(client, group, address)
            self._running = False
            if code is not None:
                return code

    def _one_attempt(self, client: CoordinatorClient, group: Group, address: str) -> int | None:
        """From a start of the script to its end: our exit code, or None when it is to be started anew."""
        if not client.guard(group.generation, lambda: self._on_broken(group.generation)):
            return None
        process = self._start(group, address)
        client.joined()
        self._phase("training", tell=False)
        while True:
            word = self._words.get()
            match word.kind:
                case "ended" if word.generation == group.generation:
                    self._code = process.wait()
                    if self._code:
                        self._tell_of_fault(self._code)
                    client.exited(group.generation, self._code)
                case "broken" if word.generation == group.generation:
                    self._end(process, min(BROKEN_GRACE_S, self.spec.options.stop_grace_s))
                    return None
                case "over":
                    self._end(process, self.spec.options.stop_grace_s)
                    return self._leave(word.state)
                case "session":
                    return self._as_parent(process)
                case "term":
                    process.terminate()
                    process.wait()  # the supervisor waits for us no longer than stop_grace_s
                    return self._leave("stopped")

    def _as_parent(self, process: subprocess.Popen[bytes]) -> int:
        """The script is the member now: hand TERM on to it, and end as it does."""
        self._is_session.set()
        mark(self.folder, lambda text: self.journal.write("note", text, "warning"))
        while process.poll() is None:  # its end is a word, too
            if self._words.get().kind == "term":
                process.terminate()
        self._leaving = True
        code = process.wait()
        if code < 0:
            die_of(-code)
        return code if code >= 0 else 128 - code

    def _start(self, group: Group, address: str) -> subprocess.Popen[bytes]:
        """Fork and exec the script, from the main thread. Its output goes where ours goes."""
        env = self._script.environment(os.environ)
        env |= {**environment(self.spec, group, self.member.member), "MOTLEY_SPAWNED": repr(time.time())}
        if before := resumed_folder(self._script.resumed):
            env["MOTLEY_RESUME"] = before
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), str(HERE)]))  # for `import motley`
        use_interface(address, env)
        wait_until_heard(sys.stdout.fileno())
        with contextlib.suppress(OSError):  # a full disk: its figures may be taken for those of the start before
            mark_start(self.folder, member=self.member.member, attempt=group.generation)
        process = subprocess.Popen(
            processes.dying_with(os.getpid(), self._script.argv(sys.executable, env)),
            cwd=self._place,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )

        def watch() -> None:
            process.wait()
            self._words.put(_Word("ended", group.generation))

        threading.Thread(target=watch, name="script", daemon=True).start()
        threading.Thread(target=self._tell_usage, args=(process,), name="usage", daemon=True).start()
        return process

    def _tell_usage(self, process: subprocess.Popen[bytes]) -> None:
        """As long as it runs and tells nothing itself. A full disk loses the line, for the next says as much."""
        usage = ProcessUsage(cores=usable_cores())
        device = nvml_device(self.member.device, os.environ)
        with contextlib.ExitStack() as stack:
            meter = stack.enter_context(GpuMeter(device)) if device is not None else None
            while process.poll() is None and not self._is_session.wait(USAGE_S):
                taken = usage.look([process.pid, *processes.descendants(process.pid)])
                if taken is None:
                    continue
                line = Usage(
                    time=time.time(), host=self.spec.host, member=self.member.member, cpu=taken.cpu,
                    mem_mib=taken.mem_mib, gpu_util=meter.utilisation() if meter is not None else None,
                )  # fmt: skip
                with contextlib.suppress(OSError):
                    if self._usage is None:
                        self._usage, _ = open_next(self.folder, f"rank_{self.member.member}", ".jsonl")
                    os.write(self._usage, encode(line))

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
        """The run has come to this end for this member."""
        told = "failed" if state == "lost" else state
        if state == "failed" and self._code:
            return self._ended(self._code if self._code > 0 else 128 - self._code, told)
        codes = {"finished": Exit.FINISHED, "stopped": Exit.STOPPED, "lost": Exit.GAVE_UP}
        return self._ended(codes.get(state, Exit.FAILED), told)

    def _not_joined(self, error: JoinError) -> int:
        state = self._how_it_is_over()
        if state is None:
            print(error, file=sys.stderr)
        return self._leave(state or "lost")

    def _failed(self, error: Exception) -> int:
        if isinstance(error, TrainerError):
            member, cause, remedy = self.member.member, error.cause, error.remedy
            self.journal.write("fault", f"rank {member}: {cause}", member=member, error=cause, remedy=remedy)
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return self._leave("failed")

    def _how_it_is_over(self) -> str | None:
        """The state that the coordinator tells of right after it has said that there will be no start."""
        deadline = time.monotonic() + OVER_S
        with contextlib.suppress(queue.Empty):
            while True:
                word = self._words.get(timeout=max(0.0, deadline - time.monotonic()))
                if word.kind == "over":
                    return word.state
        return None

    def _hold(self, cut_off: bool) -> None:
        """The wait for the next start may be long. When the leader is gone, the console names another one."""
        if cut_off:
            self._tell_cut_off("waits for a leader", step=0, generation=self._generation, address=self._address)

    def _tell_of_fault(self, code: int) -> None:
        """At once: this process ends only when it is known whose fault it was."""
        member = self.member.member
        self.journal.write("fault", f"rank {member}: the script ended with code {code}", member=member, code=code)

    def _on_broken(self, generation: int) -> None:
        """Called again and again by the threads of the client, once the group is broken."""
        if self._told_broken < generation:
            self._told_broken = generation
            self._words.put(_Word("broken", generation))

    def _on_term(self, *_: object) -> None:
        if not (self._running or self._leaving):
            raise Stopped
        self._words.put(_Word("term"))


def die_of(number: int) -> None:
    """End by this signal, as far as a process can die of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the script has left its own
    with contextlib.suppress(OSError, ValueError):  # nobody can handle KILL
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def main(run: str, host: str, member: int) -> int:
    return member_process.run(run, host, member, ScriptRank)
