"""The verb `requeued`: a host takes its part of a run up again, in a job that Slurm has started anew.

The keeper of the node calls it (`trainer.keeper.keep_node`), on whichever node has the host's place now. The host that
leads goes on from the newest checkpoint that any host of the run has left in this home, which may be shared; the others
get the state from it. What the run tells is appended to what is there, so who follows it reads on.

A home that has nothing of the run, or a checkpoint that is older than another one, is no place to go on from: a console
brings what lacks, and calls the verb itself, with the spec of the host, or with the name of the checkpoint that counts.

    >>> requeued("night", "fast-1", sys.stdout, leader="fast-1", address="10.0.0.7", restarts=1)
    {"ok": true, "pid": 4711}
"""

from __future__ import annotations

import dataclasses
import functools
import json
import socket
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from motley.trainer.bootstrap import durable
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import Term
from motley.trainer.host import processes
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.lock_and_spec import take_lock
from motley.trainer.host.paths import run_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.supervisor import daemonize
from motley.trainer.supervisor.coordinator_socket import listen
from motley.trainer.supervisor.supervisor import Supervisor

OF_BEFORE = ("stop.json", "lead.json", "checkpoint.json", "rerun.json")  # what was asked of the run in the job before
BEGAN = "requeued.json"  # which checkpoint the host that leads has begun from, of the newest start of the job
OVER = ("finished", "failed")


class Newest(NamedTuple):
    """The folder of the newest checkpoint, and what that says of itself."""

    folder: Path
    name: str
    trailer: Trailer


def requeued(
    run: str,
    host: str,
    stdout: TextIO,
    *,
    leader: str,
    address: str,
    restarts: int,
    given: BinaryIO | None = None,
    checkpoint: str = "",
) -> int:
    """Leaves a supervisor behind, and answers as the verb `supervise` does. `address`: of the node of the `leader`, or
    its name; `restarts`: how often Slurm has started the job anew; `given`: has the spec of a host that has nothing of
    the run; `checkpoint`: the file in the leader's folder to go on from, in place of the newest."""
    received = time.time()
    folder = run_folder(run, host)
    words = ["--leader", leader, "--address", address, "--restarts", str(restarts)]
    words += ["--given"] * (given is not None) + ["--checkpoint", checkpoint] * bool(checkpoint)
    daemonize.with_tags(run, host, folder, ["requeued", "--run", run, "--host", host, *words])
    try:
        known = Spec.from_json(given.read() if given is not None else (folder / "spec.json").read_bytes())
        if (known.run, known.host) != (run, host):
            raise ValueError(f"the spec is of '{known.run}' on {known.host}")
        lock = take_lock(folder)
        (folder / "checkpoints").mkdir(mode=0o700, exist_ok=True)
        if (state := state_of(folder).get("state")) in OVER:
            raise ValueError(f"the run is {state} here: nothing is left to do")
        processes.end(folder, grace_s=0.0)  # of a supervisor that is gone
        if known.container is not None:
            from motley.trainer.supervisor import containers

            containers.end(known.container.runtime, folder)
        for name in OF_BEFORE:
            (folder / name).unlink(missing_ok=True)
        newest = (named(folder, checkpoint) if checkpoint else newest_of(folder.parent)) if host == leader else None
        spec = taken_up(known, leader=leader, address=numeric(address), restarts=restarts, newest=newest)
        if checkpoint and newest is not None:
            spec = dataclasses.replace(spec, resume=str(newest.folder / newest.name))
        listener = listen(spec.leader_address, spec.port) if spec.is_leader else None
        durable.write(folder / "spec.json", spec.to_json().encode())
    except daemonize.REFUSED as error:
        return daemonize.refuse(stdout, error)
    if spec.is_leader:
        age = newest.trailer.age if newest is not None else (-1, -1)
        durable.write(folder / BEGAN, json.dumps({"restarts": restarts, "age": age}).encode())
        tell(folder, spec, newest, restarts)
    supervisor = functools.partial(Supervisor, spec, folder, received=received, listener=listener)
    return daemonize.leave_behind(lambda writer: daemonize.stay(supervisor(), folder, lock, writer), stdout)


def taken_up(spec: Spec, *, leader: str, address: str, restarts: int, newest: Newest | None) -> Spec:
    """The spec of a host for the next job. Its term is above all of the jobs before."""
    return dataclasses.replace(
        spec, leader=leader, leader_address=address, term=Term.of_job(restarts), joins=False, before_s=0.0, phases={},
        resume=str(newest.folder) if newest is not None else None,
        resume_of=spec.run if newest is not None else "",
    )  # fmt: skip


def newest_of(run: Path) -> Newest | None:
    """Of all hosts of a run whose folders are in this home. Those that are whole count, others are passed over."""
    found = [
        Newest(folder, name, trailer)
        for folder in sorted(run.glob("*/checkpoints"))
        for name, trailer in checkpoint_trailer.listed(folder).items()
    ]
    for one in sorted(found, key=lambda one: one.trailer.age, reverse=True):
        try:
            with (one.folder / one.name).open("rb") as file:
                if checkpoint_trailer.proved(file) is not None:
                    return one
        except OSError:
            continue
    return None


def named(folder: Path, name: str) -> Newest:
    """Of this host's checkpoints. Raises OSError, and ValueError when it is damaged."""
    place = folder / "checkpoints"
    with (place / Path(name).name).open("rb") as file:
        if (trailer := checkpoint_trailer.proved(file)) is None:
            raise ValueError(f"{name} is damaged")
    return Newest(place, Path(name).name, trailer)


def numeric(address: str) -> str:
    """Raises OSError for a name that leads nowhere."""
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def tell(folder: Path, spec: Spec, newest: Newest | None, restarts: int) -> None:
    """Whoever follows the run hears of it from the host that leads."""
    step = newest.trailer.step if newest is not None else 0
    journal = Journal(folder, host=spec.host, source="supervisor")
    which = (
        f"goes on at step {step:,}, from {newest.name}" if newest is not None else "begins anew, without a checkpoint"
    )
    journal.write("requeued", f"requeued by Slurm: {which}", "warning", step=step, restarts=restarts)
    lead = lead_of(folder, spec)
    journal.write("leader", f"{lead.leader} leads the run from now on", **dataclasses.asdict(lead))
    journal.close()
