"""What a script's run goes on from: the results of the run before, all of them here first, then on every host.

    >>> before = await results_of(verbs, "night", experiments / "night", checked.probes, most=20 * GIB, note=say)
    >>> before.place        # in the home of every host, once `push` has brought it
    '.motley/data/8f5a…/files'

The newest are those of the host that had rank 0 last. Hosts that answer give what is lacking here; of one that does
not, what is here is gone on from, and that is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from motley.remote.errors import HostError, UsageError
from motley.remote.experiment.machines import recorded_machines
from motley.remote.experiment.records import grouped
from motley.remote.experiment.result_frames import NoRoom, ResultFrames
from motley.remote.experiment.results_folder import RESULTS, ResultsFolder, has_any, newest
from motley.remote.hosts.this_machine import elsewhere, machine_id
from motley.remote.launch.resume_checkpoint import told_of
from motley.remote.provision.local_folder import HASH_DIGITS, Entry, Folder
from motley.remote.rpc.results import send_results
from motley.remote.rpc.verbs import Verbs
from motley.trainer.bootstrap import durable
from motley.trainer.contract.result_patterns import TIMES
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.contract.wire import Event, WireError, decode


async def results_of(
    verbs: Verbs, run: str, experiment: Path, probes: Mapping[str, Any], *, most: int, note: Callable[[str], object]
) -> Folder | None:
    """The newest results of a run as hosts are to have them; None where it has left none.

    Raises UsageError when they can't be read here, or the disk here has no room for what is lacking.
    """
    told = await asyncio.gather(*(told_of(verbs, host, run) for host in probes))
    all_told = dict(zip(probes, told, strict=True))
    tables = {host: table for host, table in all_told.items() if _is_over(table)}
    last = await asyncio.to_thread(_last, tables, experiment)
    wanted = [host for host, table in tables.items() if _wants(table) == "all" or host == last]
    wanted += [host for host in tables if host not in wanted and (experiment / RESULTS / host).is_dir()]
    for host in wanted:
        await _bring(verbs, run, ResultsFolder(experiment, host), most, note)
    if last and has_any(experiment / RESULTS / last):
        ResultsFolder(experiment, last).point_latest()
    folder = newest(experiment)
    if folder is None:
        return None
    last = last or folder.name
    away = elsewhere(verbs.hosts.cluster, all_told, recorded_machines(experiment), machine_id())
    if last not in wanted:
        why = f"does not know '{run}' any more" if last in probes else "does not answer"
        why = f"was another machine in '{run}', which is not looked at" if last in away else why
        note(f"{last}, which had rank 0 last, {why}: the results of {folder.name} that are here are taken")
    try:
        return await asyncio.to_thread(_with_times, folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"--resume {run}: its results in {folder} can't be read: {error}") from error


def _with_times(root: Path) -> Folder:
    """The folder, and beside its files when each was changed, which scripts go by. Raises OSError, ValueError."""
    folder = Folder.of(root)
    times = {file.path: (root / file.path).stat().st_mtime_ns for file in folder.files}
    content = json.dumps(times).encode()
    durable.write(root / TIMES, content)
    digest = hashlib.sha256(content).hexdigest()
    listing = Entry(path=TIMES, size=len(content), sha256=digest)
    name = hashlib.sha256(f"{folder.hash} {digest}".encode()).hexdigest()[:HASH_DIGITS]
    return Folder(root=root, files=(*folder.files, listing), hash=name)


def _last(tables: Mapping[str, Mapping[str, Any]], experiment: Path) -> str:
    """The host that had rank 0 last, by whoever knows the newest leader: a host, which may have been cut off early, or
    the events that are here, which may lack the end. Empty where nobody knows."""
    newest_told = max(tables.values(), key=_term, default={})
    term, first = FIRST, ""
    with contextlib.suppress(OSError), (experiment / "events.jsonl").open("rb") as lines:
        for line in lines:
            with contextlib.suppress(WireError, KeyError, TypeError, ValueError):
                event = decode(line) if b'"group"' in line or b'"leader"' in line else None
                if isinstance(event, Event) and event.kind == "leader":
                    term = max(term, Term.of(event.data["term"]))
                elif isinstance(event, Event) and event.kind == "group" and (members := grouped(event)):
                    first = str(members[0].get("host"))
    return first if first and term >= _term(newest_told) else str(newest_told.get("leader") or first)


async def _bring(verbs: Verbs, run: str, folder: ResultsFolder, most: int, note: Callable[[str], object]) -> None:
    frames = await asyncio.to_thread(
        lambda: ResultFrames(folder, most=most, tell=lambda path, why: note(f"results of {folder.host}: {path}: {why}"))
    )
    try:
        async with send_results(verbs, folder.host, run, json.dumps({"have": frames.have, "most": most})) as read_to:
            await read_to(frames.feed)
    except NoRoom as error:
        raise UsageError(f"--resume {run}: results of {folder.host} have no room here: {error}") from error
    except HostError as error:
        note(f"results of {folder.host} could not all be brought here: {error.cause}")
    finally:
        frames.close()


def _is_over(table: Mapping[str, Any]) -> bool:
    """With results to bring."""
    return bool(_wants(table)) and table.get("state") not in ("starting", "running")


def _wants(table: Mapping[str, Any]) -> object:
    layout = table.get("layout")
    return layout.get("results") if isinstance(layout, dict) else None


def _term(table: Mapping[str, Any]) -> Term:
    lead = table.get("lead")
    try:
        return Term.of(lead["term"]) if isinstance(lead, dict) else FIRST
    except (KeyError, TypeError, ValueError):
        return FIRST
