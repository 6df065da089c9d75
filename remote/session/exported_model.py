"""The trained weights of a run as a file here: `motley export`. Nothing of this imports torch.

Reading a checkpoint takes torch, so it is done where it lies: a host that has it, with the Python that trained, hands
over the file that is asked for (`trainer.verbs.export`). One that is only here, beside cluster.toml, is lent to a host
that answers, or else to this machine's own Python, if that has torch.

    >>> await export(cluster, "night", Path("night.safetensors"), best=False, force=False, warn=print)
    Exported(host='box1', checkpoint='final.pt', bytes=265432, metadata={'run': 'night', 'step': 60, …})
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import motley
from motley.remote.config.cluster import Cluster
from motley.remote.errors import CommandFailed, HostError, UsageError
from motley.remote.experiment.folder import experiments_folder
from motley.remote.experiment.incoming_folder import IncomingFolder
from motley.remote.experiment.incoming_model import IncomingModel
from motley.remote.experiment.machines import recorded_machines
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.this_machine import elsewhere, machine_id
from motley.remote.launch.prepare_hosts import lent_for
from motley.remote.launch.resume_checkpoint import Found, listed_by
from motley.remote.placement.placement import placement_of
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import FETCH_S, WHOLE_S, Verbs, export_words
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys, nobody
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.exported import FOLDER, evaluation_of
from motley.trainer.contract.wire import END_STATES

FORMS = {".safetensors": "safetensors", ".pt": "pt"}
_ENDING = re.compile(r"\.[A-Za-z]+")  # of a file: "model.onnx"; a folder may be called "qwen2.5-night"
BEST = "best.pt"
HERE = "this machine"
CHUNK = 1 << 20
OURS = Path(motley.__file__).resolve().parents[1]  # where `import motley` finds this installation
WITHOUT_TORCH = "Bring a host of cluster.toml up, or install torch here: pip install torch"

Warn = Callable[[str], object]
Tables = Mapping[str, Mapping[str, Any]]  # what each host that answers tells of the run; nothing where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """`host`: where the checkpoint was; `bytes`: of the file."""

    host: str
    checkpoint: str
    bytes: int
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    form: str  # one of FORMS, or FOLDER
    merge: bool


def form_of(file: Path) -> str:
    """The format by the end of the name; a name without an ending is a folder. Raises UsageError for another one."""
    if _ENDING.fullmatch(file.suffix) and file.suffix not in FORMS:
        ends = " or ".join(FORMS)
        raise UsageError(f"{file} has to end in {ends}, or in nothing for a folder: that says which format it gets")
    return FORMS.get(file.suffix, FOLDER)


async def export(
    cluster: Cluster,
    run: str,
    file: Path,
    *,
    best: bool,
    force: bool,
    warn: Warn,
    ask: Ask = nobody,
    tree: Tree | None = None,
    merge: bool = False,
) -> Exported:
    """Write the weights of the newest good checkpoint of the run, or of its best one, to `file`, whole or not at all: a
    file, or a folder. `merge`: together with the weights that every host has by itself, such as a base model's.

    `warn` hears of each that is passed over, and what is not known of the model. Raises UsageError for a run or a
    checkpoint that is not there and for a file that is, HostError where no host could do it, NotWritten.
    """
    form = form_of(file)
    kind = IncomingFolder if form == FOLDER else IncomingModel
    with contextlib.closing(kind(file, force=force)) as incoming:
        wanted = Wanted(form=form, merge=merge)
        return await _export(cluster, run, wanted, incoming, best=best, warn=warn, ask=ask, tree=tree)


async def _export(
    cluster: Cluster,
    run: str,
    wanted: Wanted,
    incoming: IncomingModel,
    *,
    best: bool,
    warn: Warn,
    ask: Ask,
    tree: Tree | None,
) -> Exported:
    experiment = experiments_folder(cluster) / run
    async with _there(cluster, run, experiment, best, warn) as cluster, Hosts(cluster) as hosts:
        verbs = Verbs(hosts, tree or Tree.installed())

        async def look() -> list[dict[str, Any] | HostError]:
            return list(await asyncio.gather(*(_told(verbs, host.name, run) for host in cluster.hosts)))

        answers = dict(zip((host.name for host in cluster.hosts), await introduced(look, new_keys, ask), strict=True))
        told = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
        for name in elsewhere(cluster, told, recorded_machines(experiment), machine_id()):
            await verbs.send_away(name)
            answers[name] = await _told(verbs, name, run)
        tables = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
        silent = [answer for answer in answers.values() if isinstance(answer, HostError)]
        found = candidates(tables, experiment, best=best)
        if not found:
            raise UsageError(why_none(run, tables, silent, experiment, best=best))
        for answer in silent:
            warn(f"{answer.host} does not answer ({answer.cause}): what it has is not looked at")
        failed: HostError | None = None
        for one in found:
            which = f"{one.name} of '{run}' on {one.host or HERE}, of step {one.trailer.step},"
            try:
                damaged = await _bring(verbs, run, wanted, one, incoming, experiment, tables)
            except HostError as error:
                failed = failed or error
                warn(f"{which} could not be exported: {error}")
                continue
            if damaged:
                warn(f"{which} is damaged, or went while it was read: the next newest is looked at")
                continue
            for note in incoming.notes:
                warn(note)
            size, metadata = incoming.keep()
            return Exported(host=one.host or HERE, checkpoint=one.name, bytes=size, metadata=metadata)
    if failed is not None:
        raise failed
    raise UsageError(f"every checkpoint of '{run}' is damaged: {', '.join(one.name for one in found)}")


@contextlib.asynccontextmanager
async def _there(cluster: Cluster, run: str, experiment: Path, best: bool, warn: Warn) -> AsyncIterator[Cluster]:
    """The cluster with the hosts that are asked. Nodes of a job are there as long as a run is: when that is over, and
    nothing is here that this machine could read, the leader's place is asked for once more, in a short job."""
    found: Cluster | None = None
    try:
        found = await placement_of(cluster, run).found(warn)
    except UsageError:
        if candidates({}, experiment, best=best) and has_torch():
            found = dataclasses.replace(cluster, hosts=())
    if found is not None:
        yield found
        return
    leader = tuple(host for host in cluster.hosts if host.name == cluster.leader)

    def told(record: Progress) -> None:
        warn(record.text)

    async with lent_for("export", dataclasses.replace(cluster, hosts=leader), told) as there:
        yield there


def candidates(tables: Tables, experiment: Path, *, best: bool) -> list[Found]:
    """The newest state first; of copies of it the leader's, then those on hosts, then the one that is here."""
    here = [Found("", name, said) for name, said in checkpoint_trailer.listed(experiment / "checkpoints").items()]
    found = [*here, *(one for host, told in tables.items() for one in listed_by(host, told))]
    leaders = {str(told.get("leader")) for told in tables.values()}

    def age(one: Found) -> tuple[tuple[int, int], bool, bool, bool]:
        return one.trailer.age, one.host in leaders, bool(one.host), one.name == "final.pt"

    return sorted((one for one in found if not best or one.name == BEST), key=age, reverse=True)


def why_none(run: str, tables: Tables, silent: Sequence[HostError], experiment: Path, *, best: bool) -> str:
    """What to tell where there is no checkpoint to export."""
    known = [told for told in tables.values() if told]
    unasked = f"; no answer from {', '.join(error.host for error in silent)}" if silent else ""
    if not known and not experiment.is_dir():
        where = f"no host knows a run named '{run}', and {experiment.parent} has none"
        return f"{where}{unasked}: `motley status` lists what there is"
    if any(isinstance(layout := told.get("layout"), dict) and layout.get("script") for told in known):
        if best and candidates(tables, experiment, best=False):
            others = 'a loop of your own writes one by run.save("best"); without --best the newest is taken'
            return f"'{run}' has no {BEST}{unasked}: {others}"
        whose = (
            "motley.session() writes one at the end of each epoch, and by run.save(); any other script knows its own"
        )
        return f"'{run}' is a run of a script of your own, and has no checkpoint of Motley's{unasked}: {whose}"
    if best and candidates(tables, experiment, best=False):
        return f"'{run}' has no {BEST}{unasked}: the first evaluation brings one; without --best the newest is taken"
    on = any(told.get("state") not in END_STATES for told in known)
    when = "the end of its first epoch brings one" if on else "it ended before it wrote one"
    return f"'{run}' has no checkpoint{unasked}: {when}"


async def _bring(
    verbs: Verbs, run: str, wanted: Wanted, one: Found, incoming: IncomingModel, experiment: Path, tables: Tables
) -> bool:
    """Have one checkpoint turned into the file. Returns whether it is damaged. Raises HostError, NotWritten."""
    if one.host:
        return incoming.ended(one.host, await _asked(verbs, one.host, run, wanted, one.name, b"", incoming))
    path = experiment / "checkpoints" / one.name
    head = json.dumps(evaluation_of(experiment, one.trailer.step)).encode() + b"\n"
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except OSError:
        return True
    if checkpoint_trailer.proved(io.BytesIO(content)) != one.trailer:
        return True
    failed: HostError | None = None
    for host in sorted(tables, key=lambda name: not tables[name]):  # who knows the run knows the task
        try:
            return incoming.ended(host, await _asked(verbs, host, run, wanted, None, head + content, incoming))
        except HostError as error:
            failed = failed or error
    if has_torch():
        return incoming.ended(HERE, await _by_own_python(run, wanted, head + content, incoming))
    raise failed or CommandFailed(HERE, f"{path} is here alone, and reading it takes torch", WITHOUT_TORCH)


async def _asked(
    verbs: Verbs, host: str, run: str, wanted: Wanted, name: str | None, given: bytes, incoming: IncomingModel
) -> str:
    incoming.begin(host)
    return await verbs.export_to(incoming.take, host, run, wanted.form, name, given, merge=wanted.merge)


def has_torch() -> bool:
    """Whether this machine's Python could read a checkpoint; nothing is imported."""
    return importlib.util.find_spec("torch") is not None


async def _by_own_python(run: str, wanted: Wanted, given: bytes, incoming: IncomingModel) -> str:
    """In a process of its own: this one never imports torch."""
    incoming.begin(HERE)
    words = ["-m", "motley.trainer", *export_words(run, "console", wanted.form, None, merge=wanted.merge)]
    env = {**os.environ, "PYTHONPATH": str(OURS)}
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=env
        )
        assert process.stdout is not None
        try:
            within_s = WHOLE_S if wanted.merge else FETCH_S
            while chunk := await asyncio.wait_for(process.stdout.read(CHUNK), within_s):
                incoming.take(chunk)
        except asyncio.TimeoutError as error:
            raise CommandFailed(HERE, f"torch said nothing for {within_s:g} s", WITHOUT_TORCH) from error
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        stderr.seek(0)
        return stderr.read()[-CHUNK:].decode(errors="replace")


async def _told(verbs: Verbs, host: str, run: str) -> dict[str, Any] | HostError:
    try:
        runs = await verbs.status(host)
    except HostError as error:
        return error
    return next((table for table in runs if table.get("run") == run), {})
