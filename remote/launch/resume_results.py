"""What a script's run goes on from: the results of the run before, all of them here first, then on every host.

    >>> before = await results_of(verbs, "night", experiments / "night", checked.probes, most=20 * GIB, note=say)
    >>> before.place        # in the home of every host, once `push` has brought it
    '.motley/data/8f5a…/files'

The newest are those of the host that had rank 0 last. Hosts that answer give what is lacking here; of one that does
not, what is here is gone on from, and that is said.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from motley.remote.errors import HostError, UsageError
from motley.remote.experiment.result_frames import NoRoom, ResultFrames
from motley.remote.experiment.results_folder import RESULTS, ResultsFolder, newest
from motley.remote.provision.local_folder import Folder
from motley.remote.rpc.results import send_results
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.term import FIRST, Term


async def results_of(
    verbs: Verbs, run: str, experiment: Path, probes: Mapping[str, Any], *, most: int, note: Callable[[str], object]
) -> Folder | None:
    """The newest results of a run as hosts are to have them; None where it has left none.

    Raises UsageError when they can't be read here, or the disk here has no room for what is lacking.
    """
    told = await asyncio.gather(*(_told(verbs, host, run) for host in probes))
    tables = {host: table for host, table in zip(probes, told, strict=True) if table}
    leader = max(tables.values(), key=_term, default={}).get("leader")
    wanted = [host for host, table in tables.items() if _wants(table) == "all" or host == leader]
    wanted += [host for host in tables if host not in wanted and (experiment / RESULTS / host).is_dir()]
    for host in wanted:
        await _bring(verbs, run, ResultsFolder(experiment, host), most, note)
    if leader in wanted and ResultsFolder(experiment, str(leader)).have():
        ResultsFolder(experiment, str(leader)).point_latest()
    folder = newest(experiment)
    if folder is None:
        return None
    if folder.name not in wanted:
        note(f"{folder.name}, which has the newest results of '{run}', does not answer: those that are here are taken")
    try:
        return await asyncio.to_thread(Folder.of, folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"--resume {run}: its results in {folder} can't be read: {error}") from error


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


async def _told(verbs: Verbs, host: str, run: str) -> Mapping[str, Any]:
    """What a host tells of a run that is over and has results; else nothing."""
    try:
        runs = await verbs.status(host)
    except HostError:
        return {}
    table = next((table for table in runs if table.get("run") == run), {})
    return table if _wants(table) and table.get("state") not in ("starting", "running") else {}


def _wants(table: Mapping[str, Any]) -> object:
    layout = table.get("layout")
    return layout.get("results") if isinstance(layout, dict) else None


def _term(table: Mapping[str, Any]) -> Term:
    lead = table.get("lead")
    try:
        return Term.of(lead["term"]) if isinstance(lead, dict) else FIRST
    except (KeyError, TypeError, ValueError):
        return FIRST
