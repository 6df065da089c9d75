"""The verb `requeued`: a host takes its part of a run up again, in a job that Slurm has started anew.

The keeper of the node calls it (`trainer.keeper.keep_node`), on whichever node has the host's place now. The host that
leads goes on from the newest checkpoint that any host of the run has left in this home, which may be shared; before the
first one from that of another run, where it began with one. The others get the state from it. What the run tells is
appended to what is there, so who follows it reads on.

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
from collections.abc import Iterable
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
from motley.trainer.host.lock_and_spec import AtWork, take_lock
from motley.trainer.host.paths import run_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.supervisor import daemonize
from motley.trainer.supervisor.coordinator_socket import listen
from motley.trainer.supervisor.supervisor import Supervisor

OF_BEFORE = ("stop.json", "lead.json", "checkpoint.json", "rerun.json")  # what was asked of the run in the job before
BEGAN = "requeued.json"  # which checkpoint the host that leads has begun from, of the newest start of the job
OVER = ("finished", "failed")


class Newest(NamedTuple):
    """The checkpoint to go on from, and what it says of itself. `place`: what a spec names, the file or its folder;
    `run`: the other run that has made it, which this one began with; empty for one of its own."""

    folder: Path
    name: str
    trailer: Trailer
    place: Path
    run: str = ""


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
    """Leaves a supervisor behind, and answers as the verb `supervise` does, with `already` where another call has done
    so before. `address`: of the node of the `leader`, or its name; `restarts`: how often Slurm has started the job
    anew; `given`: has the spec of a host that has nothing of the run; `checkpoint`: the file in the leader's folder to
    go on from, in place of the newest."""
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
        newest = (named(folder, checkpoint) if checkpoint else to_go_on_from(folder, known)) if host == leader else None
        spec = taken_up(known, leader=leader, address=numeric(address), restarts=restarts, newest=newest)
        listener = listen(spec.leader_address, spec.port) if spec.is_leader else None
        durable.write(folder / "spec.json", spec.to_json().encode())
    except AtWork:
        print(json.dumps({"ok": True, "already": True}), file=stdout, flush=True)
        return 0
    except daemonize.REFUSED as error:
        return daemonize.refuse(stdout, error)
    if spec.is_leader:
        age = newest.trailer.age if newest is not None and not newest.run else (-1, -1)  # any of its own is newer
        durable.write(folder / BEGAN, json.dumps({"restarts": restarts, "age": age}).encode())
        tell(folder, spec, newest, restarts, began_with=known.resumed_from)
    supervisor = functools.partial(Supervisor, spec, folder, received=received, listener=listener)
    return daemonize.leave_behind(lambda writer: daemonize.stay(supervisor(), folder, lock, writer), stdout)


def taken_up(spec: Spec, *, leader: str, address: str, restarts: int, newest: Newest | None) -> Spec:
    """The spec of a host for the next job. Its term is above all of the jobs before. What the run began with stays
    known to the hosts that do not lead: one that leads in a later job may have to be given it once more."""
    resume, resume_of = (spec.resume, spec.resume_of) if spec.host != leader else (None, "")
    if newest is not None:
        resume, resume_of = str(newest.place), newest.run or spec.run
    return dataclasses.replace(
        spec, leader=leader, leader_address=address, term=Term.of_job(restarts), joins=False, before_s=0.0, phases={},
        resume=resume, resume_of=resume_of,
    )  # fmt: skip


def to_go_on_from(folder: Path, spec: Spec) -> Newest | None:
    """By what is in this home: `folder` is that of the host in the run."""
    return newest_of(folder.parent) or began_with(spec)


def newest_of(run: Path) -> Newest | None:
    """Of all hosts of a run whose folders are in this home."""
    return _newest_whole(
        Newest(folder, name, trailer, folder)
        for folder in sorted(run.glob("*/checkpoints"))
        for name, trailer in checkpoint_trailer.listed(folder).items()
    )


def began_with(spec: Spec) -> Newest | None:
    """The checkpoint of another run that this one began with, as long as it is here."""
    if not spec.resume:
        return None
    place = Path(spec.resume).expanduser()
    one = place.suffix == ".pt"
    folder = place.parent if one else place
    return _newest_whole(
        Newest(folder, name, trailer, place, spec.resumed_from or "")
        for name, trailer in checkpoint_trailer.listed(folder).items()
        if not one or name == place.name
    )


def _newest_whole(found: Iterable[Newest]) -> Newest | None:
    """Damaged ones are passed over."""
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
    return Newest(place, Path(name).name, trailer, place / Path(name).name)


def numeric(address: str) -> str:
    """Raises OSError for a name that leads nowhere."""
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def tell(folder: Path, spec: Spec, newest: Newest | None, restarts: int, *, began_with: str | None = None) -> None:
    """Whoever follows the run hears of it from the host that leads. `began_with`: the run whose checkpoint it had."""
    step = newest.trailer.step if newest is not None else 0
    journal = Journal(folder, host=spec.host, source="supervisor")
    which = "begins anew, without a checkpoint"
    if newest is not None:
        which = f"goes on at step {step:,}, from {newest.name}" + (f" of '{newest.run}'" if newest.run else "")
    elif began_with and began_with != spec.run:
        which += f": that of '{began_with}', with which it began, is not here any more, or damaged"
    journal.write("requeued", f"requeued by Slurm: {which}", "warning", step=step, restarts=restarts)
    lead = lead_of(folder, spec)
    journal.write("leader", f"{lead.leader} leads the run from now on", **dataclasses.asdict(lead))
    journal.close()
