"""Takes the place of trainer/rank.py in the tree that the tests of sessions push: joins the group, trains nothing.

It writes a sample and a line of output every `STAND_IN_PACE_S`; rank 0 reports, and keeps a checkpoint every tenth
step. What else it shall do stands in the environment that the cluster.toml of the test gives it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from trainer.exits import Exit
from trainer.folders import open_next, run_folder
from trainer.journal import Journal
from trainer.membership import Membership
from trainer.spec import Spec
from trainer.wire import Sample, encode

BATCH = 8
PACE_S = float(os.environ.get("STAND_IN_PACE_S", "0.004"))
STUBBORN = "STAND_IN_STUBBORN" in os.environ  # leaves TERM unheard, and has a child in a session of its own
FALSE_SHA256 = "STAND_IN_FALSE_SHA256" in os.environ


def main(run: str, host: str, member: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    if STUBBORN:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    line = Membership.dial(spec, member=member, deadline_s=20)
    group = line.ready(times={"spawn_s": 0.1, "import_s": 0.2}, store=("127.0.0.1", 1))
    line.joined()
    print(f"going on from {spec.resume}", flush=True)
    journal = Journal(folder, host=host, source=f"rank {member}")
    metrics, _ = open_next(folder, f"rank_{member}", ".jsonl")
    step = 0
    while step != spec.options.steps and not asked_to_leave():
        step += 1
        os.write(metrics, encode(sample(host, member, step)))
        print(f"step {step} \x1b[31mred\x1b[0m", flush=True)
        if group.rank == 0:
            line.report(steps=[[step, BATCH * group.world_size, 4.0, 1 / step]], batches=[[BATCH] * group.world_size])
            if step % 10 == 0:
                checkpoint(journal, folder, f"epoch_{step // 10}", step)
    state = "finished" if step == spec.options.steps else "stopped"
    if group.rank == 0 and state == "finished":
        checkpoint(journal, folder, "final", step)
    line.ended(state)
    return Exit.FINISHED if state == "finished" else Exit.STOPPED


def asked_to_leave() -> bool:
    """Waits for a step's time, or for TERM."""
    return signal.sigtimedwait(() if STUBBORN else (signal.SIGTERM,), PACE_S) is not None


def sample(host: str, member: int, step: int) -> Sample:
    return Sample(
        seq=step - 1, step=step, epoch=0, time=time.time(), host=host, member=member, rank=member, generation=0,
        batch=BATCH, loss=float(member), compute_ms=3.0, wait_ms=1.0, data_ms=0.0, step_ms=4.0, samples_per_s=2000.0,
    )  # fmt: skip


def checkpoint(journal: Journal, folder: Path, name: str, step: int) -> None:
    content = f"{name} at {step}\n".encode() * 1000
    (folder / "checkpoints" / f"{name}.pt").write_bytes(content)
    sha256 = hashlib.sha256(b"something else" if FALSE_SHA256 else content).hexdigest()
    path = f"checkpoints/{name}.pt"
    journal.write("checkpoint", f"{name}.pt", step=step, path=path, bytes=len(content), sha256=sha256, seconds=0.0)
