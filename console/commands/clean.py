"""`motley clean`: shows what is old on the hosts, asks, and removes it.

code = clean(cluster, older_days=7, yes=False, json=False)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Union

from rich.cells import cell_len

from motley.console.commands.json_output import print_data
from motley.console.control import terminal_prompts
from motley.console.view.styled_line import fit
from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError, UsageError
from motley.remote.experiment.folder import experiments_folder
from motley.remote.experiment.only_copies import OnlyCopies, only_copies
from motley.remote.experiment.results import files_of
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.prepare_hosts import lent_for
from motley.remote.provision.push_code import Tree
from motley.remote.provision.push_folder import amount
from motley.remote.rpc.clean import DAY_S, Kept, Removed, old, remove, survey
from motley.remote.rpc.verbs import Verbs
from motley.remote.ssh.shell import motley

KINDS = {"run": "run", "code": "code tree", "data": "data set", "env": "environment", "cache": "cache"}
NAMES = 4  # that are told of each kind

Found = Mapping[str, Union[Sequence[Kept], HostError]]


def clean(
    cluster: Cluster,
    *,
    older_days: float,
    yes: bool,
    json: bool,
    with_results: bool = False,
) -> int:
    """Returns the exit code: 1 when a host did not answer, or something could not be removed.

    A run with results that are not here stays, unless it is to go `with_results`. Raises UsageError where nobody can be
    asked.
    """
    if not yes and not json and not terminal_prompts.on_terminal():
        raise UsageError("nobody can be asked here: say --yes to remove, or --json to look only")
    return asyncio.run(_clean(cluster, older_s=older_days * DAY_S, yes=yes, json=json, with_results=with_results))


async def _clean(cluster: Cluster, *, older_s: float, yes: bool, json: bool, with_results: bool) -> int:
    async with lent_for("clean", cluster, _tell) as there, Hosts(there) as hosts:
        verbs = Verbs(hosts, Tree.installed())
        found = await survey(verbs, [host.name for host in cluster.hosts])
        going = {host: old(kept, older_s=older_s) for host, kept in found.items() if not isinstance(kept, HostError)}
        only = await _only_copies(verbs, experiments_folder(cluster), going)
        if not with_results:
            going = {
                host: [item for item in items if item.kind != "run" or (host, item.name) not in only]
                for host, items in going.items()
            }
        total = sum(item.bytes for items in going.values() for item in items)
        if not json:
            print(text(found, going))
        for (host, run), copies in only.items():
            print(words_of(cluster, host, run, copies, goes=with_results), file=sys.stderr)
        sure = any(going.values()) and (yes or (not json and await terminal_prompts.yes(question(going))))
        removed: dict[str, Removed] = {}
        failed = [kept for kept in found.values() if isinstance(kept, HostError)]
        for host, items in going.items() if sure else ():
            try:
                removed[host] = await remove(verbs, host, items)
            except HostError as error:
                failed.append(error)
    for silent in failed:
        print(f"✖ {silent.host}: {silent.cause}\n    {silent.remedy}", file=sys.stderr)
    left = [f"{host}: {why}" for host, done in removed.items() for why in done.left]
    for line in left:
        print(f"✖ {line}", file=sys.stderr)
    if json:
        print_data(data(found, going, removed))
    elif sure:
        print(f"removed {amount(sum(done.bytes for done in removed.values()))}")
    elif total:
        print("nothing was removed")
    return int(bool(failed or left))


def _tell(record: Progress) -> None:
    print(f"motley: {record.text}", file=sys.stderr)


async def _only_copies(
    verbs: Verbs, experiments: Path, going: Mapping[str, Sequence[Kept]]
) -> dict[tuple[str, str], OnlyCopies | None]:
    """By host and run; None where that can't be known, which is no reason to remove it."""
    found: dict[tuple[str, str], OnlyCopies | None] = {}
    for host, items in going.items():
        for item in items:
            try:
                copies = await only_copies(verbs, experiments, host, [item])
            except HostError:
                found[host, item.name] = None
            else:
                found.update({(host, run): only for run, only in copies.items()})
    return found


def words_of(cluster: Cluster, host: str, run: str, only: OnlyCopies | None, *, goes: bool) -> str:
    """What is said of a run whose results on a host may be nowhere else."""
    if only is None:
        return f"{host}: which results of '{run}' are nowhere else is not known: it {'goes' if goes else 'stays'}"
    more = f" and {only.count - len(only.paths):,} more" if only.count > len(only.paths) else ""
    which = f"{files_of(only.count)} of '{run}' ({amount(only.bytes)}: {', '.join(only.paths)}{more})"
    if goes:
        return f"{host}: {which} that are nowhere else go with it"
    rest = f"{motley(cluster, 'attach', run)} brings them here, --with-results removes them too"
    return f"{host}: '{run}' stays, for {which} are nowhere else. {rest}"


def text(found: Found, going: Mapping[str, Sequence[Kept]]) -> str:
    """A line a host and kind: how many there are, how large, and which of them would go."""
    rows = []
    for host, kept in found.items():
        if isinstance(kept, HostError):
            continue
        for kind, word in KINDS.items():
            those = [item for item in kept if item.kind == kind]
            if those:
                names = [item.name for item in going[host] if item.kind == kind]
                count = f"{len(those)} {word}{'s' * (len(those) != 1)}"
                rows.append((host, count, amount(sum(item.bytes for item in those)), _old(names)))
    if not rows:
        return "the hosts keep nothing"
    widths = [max(cell_len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join([*map(fit, row[:3], widths), row[3]]).rstrip() for row in rows)


def question(going: Mapping[str, Sequence[Kept]]) -> str:
    items = [item for kept in going.values() for item in kept]
    hosts = sum(bool(kept) for kept in going.values())
    logs = " (with their logs and checkpoints there)" if any(item.kind == "run" for item in items) else ""
    where = f"{hosts} host{'s' * (hosts != 1)}"
    return f"Remove what is old{logs}, {amount(sum(item.bytes for item in items))} on {where}?"


def data(found: Found, going: Mapping[str, Sequence[Kept]], removed: Mapping[str, Removed]) -> dict[str, Any]:
    """The object of `--json`."""
    hosts: list[dict[str, Any]] = []
    for host, kept in found.items():
        if isinstance(kept, HostError):
            hosts.append({"name": host, "cause": kept.cause, "remedy": kept.remedy})
            continue
        items = [{**asdict(item), "old": item in going[host]} for item in kept]
        hosts.append({"name": host, "items": items, "removed_bytes": removed[host].bytes if host in removed else 0})
    return {"hosts": hosts}


def _old(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f"old: {', '.join(name[:24] for name in names[:NAMES])}{more}" if names else ""
