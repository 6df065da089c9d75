"""What the login node knows of a job before there is one: its partitions, their nodes and limits. Pure, but for `look`.

>>> findings(cluster, "gpu*|4|2:00:00|up\\ncpu|16|infinite|up\\n", scheduler="sched/backfill")
[]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.slurm_classes import seconds
from motley.remote.errors import Finding, HostError, UsageError
from motley.remote.hosts.login_node import command
from motley.remote.placement.slurm_commands import ASK_S, SlurmCommands
from motley.remote.placement.slurm_queue import refusal
from motley.remote.placement.slurm_script import about, classes

FORMAT = "%P|%D|%l|%a"  # of sinfo
CHECK = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """`limit_s` is None where there is none; a partition may have several lines, which are one here."""

    name: str
    nodes: int
    limit: str
    is_default: bool
    is_up: bool

    @property
    def limit_s(self) -> int | None:
        return seconds(self.limit) if ":" in self.limit else None


async def look(cluster: Cluster) -> list[Finding]:
    """Nothing is submitted. What can't be asked is a finding, too. Raises ValueError for another cluster."""
    if cluster.slurm is None:
        raise ValueError("no cluster of Slurm's")
    slurm = SlurmCommands(cluster.slurm)
    try:
        async with slurm.gate() as gate:
            asked = await command(gate, ["sinfo", "--noheader", "-o", FORMAT], timeout_s=ASK_S)
            if asked.code == 127 or "not found" in asked.stderr:
                return [_of(cluster.leader, slurm.missing(), "`sbatch --version` there says whether it is.")]
            if asked.code:
                return [_of(cluster.leader, *refusal(asked.stderr))]
            said = await command(gate, ["scontrol", "show", "config"], timeout_s=ASK_S)
    except HostError as error:
        return [_of(cluster.leader, error.cause, error.remedy)]
    except UsageError as error:
        return [_of(cluster.leader, str(error), "")]
    lines = said.stdout.decode(errors="replace").splitlines()
    found = next((line.partition("=")[2].strip() for line in lines if line.startswith("SchedulerType")), "")
    return findings(cluster, asked.stdout.decode(errors="replace"), scheduler=found)


def findings(cluster: Cluster, sinfo: str, *, scheduler: str) -> list[Finding]:
    """`scheduler`: SchedulerType, empty where it is not known."""
    known = partitions(sinfo.splitlines())
    found = [one for hosts in classes(cluster) for one in _of_class(cluster, hosts, known)]
    if len(classes(cluster)) > 1 and scheduler not in ("", "sched/backfill"):
        cause = f"several classes of nodes are a heterogeneous job, which needs sched/backfill; here it is {scheduler}"
        found.append(_of(cluster.leader, cause, "Take one class with --only, or ask for sched/backfill."))
    return found


def partitions(lines: Iterable[str]) -> dict[str, Partition]:
    """sinfo's lines in `FORMAT`."""
    found: dict[str, Partition] = {}
    for line in lines:
        cells = line.strip().split("|")
        if len(cells) != 4 or not cells[1].isdecimal():
            continue
        name, before = cells[0].rstrip("*"), found.get(cells[0].rstrip("*"))
        found[name] = Partition(
            name=name, nodes=int(cells[1]) + (before.nodes if before else 0), limit=cells[2],
            is_default=cells[0].endswith("*"), is_up=cells[3] == "up",
        )  # fmt: skip
    return found


def _of_class(cluster: Cluster, hosts: list[Host], known: dict[str, Partition]) -> list[Finding]:
    first, wanted = hosts[0].name, about(hosts[0]).partition
    names = ", ".join(known) or "none"
    if wanted is not None and wanted not in known:
        return [_of(first, f"Slurm has no partition {wanted}; it has {names}", "Set partition to one of them.")]
    one = known[wanted] if wanted else next((one for one in known.values() if one.is_default), None)
    if one is None:
        return [_of(first, f"Slurm has no partition by default; it has {names}", "Set partition to one of them.")]
    found = []
    if not one.is_up:
        found.append(_of(first, f"the partition {one.name} is closed", "Set partition to another one: sinfo -s"))
    if len(hosts) > one.nodes:
        cause = f"the partition {one.name} has {one.nodes} nodes, {len(hosts)} are asked for"
        found.append(_of(first, cause, "Set nodes lower, or partition to another one."))
    asked_s = seconds(cluster.slurm.time) if cluster.slurm is not None and cluster.slurm.time else None
    if asked_s is not None and one.limit_s is not None and asked_s > one.limit_s:
        cause = f"the partition {one.name} lets a job have {one.limit}, which is less than [slurm] time"
        found.append(_of(first, cause, "Set [slurm] time lower; requeue = true has the run go on in a further job."))
    return found


def _of(host: str, cause: str, remedy: str) -> Finding:
    return Finding(host, CHECK, "error", cause, remedy)
