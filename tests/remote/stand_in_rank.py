"""Takes the place of trainer/rank/task_rank.py in the tree that tests of sessions push: it trains nothing.

It writes a sample and a line of output every `STAND_IN_PACE_S`; rank 0 reports, and keeps a checkpoint at steps 10, 20,
100, 200 and so on. What else it shall do stands in the environment that the cluster.toml of the test gives it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import NO_TERM
from motley.trainer.contract.wire import Sample, encode
from motley.trainer.errors import told
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import open_next, run_folder
from motley.trainer.host.run_members import keep
from motley.trainer.rank.coordinator_client import HEARD_S, CoordinatorClient
from motley.trainer.rank.coordinator_connection import RunOver

BATCH = 8
PACE_S = float(os.environ.get("STAND_IN_PACE_S", "0.01"))
STUBBORN = "STAND_IN_STUBBORN" in os.environ  # leaves TERM unheard, and has a child in a session of its own
DAEMON = "STAND_IN_DAEMON" in os.environ  # leaves one behind, in whose environment nothing tells of the run
FAILS = os.environ.get("STAND_IN_FAILS", "")  # how rank 1 does at its fifth step: a key of `ERRORS`
FAILS_TOO = os.environ.get("STAND_IN_FAILS_TOO", "")  # how rank 0 does when it sees that
WAITS_AT = int(os.environ.get("STAND_IN_WAITS_AT", "-1"))  # the step after which it goes on at a word of the test
FALSE_SHA256 = "STAND_IN_FALSE_SHA256" in os.environ
ERRORS: dict[str, Exception] = {
    "1": RuntimeError("out of luck"),
    "no module": ModuleNotFoundError("No module \x1b]0;mine\x07\x1b[31mnamed 'einops'\x1b[0m"),
    "no peer": RuntimeError("[pair.cc:534] Connection closed by peer [10.0.0.2]:28048"),
}


def main(run: str, host: str, member: int, *, anew: bool) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    assert gc.isenabled(), "what imported torch for it does without"
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    if STUBBORN:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    if DAEMON:
        import shutil  # what a rank imports counts in the benchmark of starts

        words = f"echo $$ > {folder}/daemon.new && mv {folder}/daemon.new {folder}/daemon.pid && exec sleep 1000"
        subprocess.run(["setsid", "--fork", "env", "-i", shutil.which("sh") or "sh", "-c", words], check=True)

    def leader() -> tuple[str, int]:
        lead = lead_of(folder, spec)
        return lead.address, lead.port

    line = CoordinatorClient.dial(spec, member=member, deadline_s=20, where=leader)
    print(f"going on from {spec.resume}", flush=True)
    rank = StandIn(spec, host, member, folder, line, step=-1 if anew else 0)
    while True:
        try:
            state, heard_s = rank.one_group(), HEARD_S
        except RunOver as over:
            state, heard_s = over.state, 0.0
        if state is not None:
            line.ended(state, heard_s=heard_s if state == "finished" else 0.0)
            return Exit.FINISHED if state == "finished" else Exit.STOPPED


class StandIn:
    """What a rank keeps from one group to the next."""

    def __init__(self, spec: Spec, host: str, member: int, folder: Path, line: CoordinatorClient, *, step: int) -> None:
        self.spec, self.host, self.member, self.folder, self.line, self.step = spec, host, member, folder, line, step
        self.term, self.leader, self.generation = NO_TERM, "", -1
        self.seq = sum(len(path.read_bytes().splitlines()) for path in folder.glob(f"rank_{member}*.jsonl"))
        self.journal = Journal(folder, host=host, source=f"rank {member}")
        self.metrics, _ = open_next(folder, f"rank_{member}", ".jsonl")

    def one_group(self) -> str | None:
        """Until the end, or until the group broke."""
        line, broken = self.line, threading.Event()
        times = {"spawn_s": 0.1, "import_s": 0.2}
        group = line.ready(
            times=times, store=("127.0.0.1", 1), step=self.step, term=self.term, leader=self.leader,
            generation=self.generation, save=self.hold,
        )  # fmt: skip
        keep(self.folder, group.roll)
        self.term, self.leader, self.generation = group.term, group.leader, group.generation
        self.step = group.step if group.stale else max(self.step, group.step)
        if not line.guard(group.generation, broken.set):
            return None
        line.joined()
        while self.step != self.spec.options.steps and not asked_to_leave():
            if broken.is_set() or line.boundary:
                line.boundary = False
                return None
            if self.step != WAITS_AT or may_go_on(self.spec.run).exists():
                self.one_step(group)
        state = "finished" if self.step == self.spec.options.steps else "stopped"
        if group.rank == 0 and state == "finished":
            checkpoint(self.journal, self.folder, "final", self.step)
        return state

    def one_step(self, group: Group) -> None:
        self.step += 1
        if FAILS and (self.member, self.step) == (1, 5):
            self.fail(FAILS)
        if FAILS_TOO and self.member == 0 and failed_here(self.spec.run).exists():
            self.fail(FAILS_TOO)
        self.line.step = self.line.arrived = self.step
        with contextlib.suppress(OSError):  # a full disk
            os.write(self.metrics, encode(sample(self.host, self.member, self.seq, self.step, group.generation)))
        self.seq += 1
        print(f"step {self.step} \x1b[31mred\x1b[0m", flush=True)
        if group.rank == 0:
            world = group.world_size
            self.line.report(steps=[[self.step, BATCH * world, 4.0, 1 / self.step]], batches=[[BATCH] * world])
            if asked := self.line.asked:
                checkpoint(self.journal, self.folder, f"step_{self.step}", self.step, why="asked", asked=asked)
                self.line.checkpointed(asked)
            if self.step in (10, 20) or self.step % 100 == 0:  # each is fetched by a process of its own
                checkpoint(self.journal, self.folder, f"epoch_{self.step // 10}", self.step)

    def fail(self, how: str) -> None:
        """As a rank does: its own word in the journal, then a traceback and an exit code."""
        cause, remedy = told(ERRORS[how])
        self.journal.write("fault", cause, member=self.member, error=cause, remedy=remedy)
        failed_here(self.spec.run).touch()
        self.line.ended("failed")
        raise ERRORS[how]

    def hold(self, cut_off: bool) -> None:
        if not cut_off:
            return
        where = {"term": self.term, "generation": self.generation, "address": "127.0.0.1"}
        data = {"member": self.member, "step": self.step, **where}
        self.journal.write("cut_off", f"rank {self.member} waits", "warning", **data)


def failed_here(run: str) -> Path:
    """Tells the other rank: the demo hosts of a test are one machine."""
    return Path.home().parent / f"{run}.failed"


def may_go_on(run: str) -> Path:
    """The word of the test, `Stage.go_on`."""
    return Path.home().parent / f"{run}.goes_on"


def asked_to_leave() -> bool:
    """Waits for a step's time, or for TERM."""
    return signal.sigtimedwait(() if STUBBORN else (signal.SIGTERM,), PACE_S) is not None


def sample(host: str, member: int, seq: int, step: int, generation: int) -> Sample:
    return Sample(
        seq=seq, step=step, epoch=0, time=time.time(), host=host, member=member, rank=member, generation=generation,
        batch=BATCH, loss=float(member), compute_ms=3.0, wait_ms=1.0, data_ms=0.0, step_ms=4.0, samples_per_s=2000.0,
    )  # fmt: skip


def sealed(content: bytes, step: int, *, line: int = 0) -> bytes:
    """With the last line that a checkpoint has."""
    content += checkpoint_trailer.beginning(step, line)
    return content + hashlib.sha256(content).hexdigest().encode() + b"\n"


def checkpoint(journal: Journal, folder: Path, name: str, step: int, **about: Any) -> None:
    content = sealed(f"{name} at {step}\n".encode() * 1000, step)
    with contextlib.suppress(OSError):
        (folder / "checkpoints" / f"{name}.pt").write_bytes(content)
    sha256 = hashlib.sha256(b"something else" if FALSE_SHA256 else content).hexdigest()
    path = f"checkpoints/{name}.pt"
    said = {"step": step, "path": path, "bytes": len(content), "sha256": sha256, "seconds": 0.0, **about}
    journal.write("checkpoint", f"{name}.pt", **said)
