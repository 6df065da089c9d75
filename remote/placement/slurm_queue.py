"""What Slurm says of a job, and what that means for whoever waits for it. Pure.

>>> rows("4711+0|PENDING|Resources|2026-11-23T21:37:23||motley-night|")[0].reason
'Resources'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

FORMAT = "%i|%T|%r|%S|%N|%j|%k"  # of squeue
ON = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "REQUEUED")
REASONS = {  # in squeue's words -> what that is
    "Resources": "nodes are in use",
    "Priority": "others come first",
    "Dependency": "it waits for another job",
    "BeginTime": "it is not to begin yet",
    "Licenses": "licences are in use",
    "ReqNodeNotAvail": "nodes are down, drained or reserved",
    "JobHeldUser": "it is held; scontrol release lets it go",
    "JobHeldAdmin": "it is held by an administrator",
    "None": "Slurm has not looked at it yet",
}
NEVER = {  # reasons that waiting does not mend -> what does
    "PartitionConfig": "The partition never gives that much: ask for fewer nodes, or take another partition (sinfo).",
    "PartitionNodeLimit": "The partition gives nobody so many nodes: set nodes lower (scontrol show partition).",
    "PartitionTimeLimit": "Set [slurm] time within the limit of the partition (sinfo -o '%P %l').",
    "PartitionDown": "The partition is closed: take another one (sinfo).",
    "PartitionInactive": "The partition is closed: take another one (sinfo).",
    "BadConstraints": "No node has what is asked for: look at sbatch in cluster.toml (scontrol show node).",
    "AccountNotAllowed": "Set [slurm] account to one that may use the partition: sacctmgr show associations user=$USER",
    "QOSNotAllowed": "Set [slurm] qos to one that the account has (sacctmgr show associations user=$USER).",
    "InvalidAccount": "Set [slurm] account to one that you have (sacctmgr show associations user=$USER).",
    "InvalidQOS": "Set [slurm] qos to one that there is (sacctmgr show qos).",
    "QOSMaxNodePerUserLimit": "The quality of service gives nobody so many nodes: set nodes lower.",
    "QOSMaxSubmitJobPerUserLimit": "It lets you have no further job: end others, or set another [slurm] qos.",
}
_LIMITS = "`sacctmgr show qos` and `sacctmgr show associations user=$USER` have the limits."
PER_JOB = f"One job may not have so much: ask for less, or set another [slurm] qos or account. {_LIMITS}"
REFUSALS = {  # what sbatch says when it takes no job -> what to do
    "invalid partition": "Set partition in [[hosts]] to one that `sinfo -s` lists.",
    "generic resource": "Look at --gres in cluster.toml: `sinfo -o '%P %G'` lists what the nodes have.",
    "invalid feature": "No node has such a feature: `sinfo -o '%P %f'` lists them.",
    "violates accounting/qos": f"Ask for less, end other jobs, or set another [slurm] qos or account. {_LIMITS}",
    "invalid account": "Set [slurm] account to one that you have: sacctmgr show associations user=$USER",
    "invalid qos": "Set [slurm] qos to one that there is: sacctmgr show qos",
    "time limit": "Set [slurm] time within the limit of the partition: sinfo -o '%P %l'",
    "node count": "Set nodes to what the partition has: sinfo -o '%P %D'",
    "node configuration": "No node of the partition has what is asked for: sinfo -N -l lists them.",
    "unable to contact slurm controller": "slurmctld does not answer: `scontrol ping` there says more.",
    "unrecognized option": "Look at sbatch in cluster.toml: `sbatch --help` lists the options.",
    "invalid option": "Look at sbatch in cluster.toml: `sbatch --help` lists the options.",
}
_PER_JOB = re.compile(r"(?:QOS|Assoc)Max\w*PerJob")
_YOURS = re.compile(r"(?:QOS|Assoc)(?:Max|Grp)\w*")
YOURS = "a limit of yours or of your account's: other jobs have to end first"
_COMMON = ("Resources", "Priority", "None")  # what says less than any other reason, the last the least
Phase = Literal["queued", "running", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A job, or a part of a heterogeneous one."""

    job: str  # of the whole
    group: int | None  # None: an ordinary job
    state: str
    reason: str
    start: str  # expected, or when it began; as Slurm writes it, "N/A" where it is not known
    nodes: str  # as Slurm writes a list: fast[1-2]
    name: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of a job as a whole. `says`: for a line of progress; `remedy`: where waiting does not help."""

    phase: Phase
    says: str
    remedy: str = ""


def rows(text: str) -> list[Component]:
    """squeue's lines in `FORMAT`; what is none is left out."""
    found = []
    for line in text.splitlines():
        cells = line.split("|", 6)
        number = re.fullmatch(r"(\d+)(?:\+(\d+))?", cells[0].strip())
        if number is None or len(cells) != 7:
            continue
        job, group = number[1], int(number[2]) if number[2] is not None else None
        _, state, reason, start, nodes, name, comment = cells
        comment = "" if comment == "(null)" else comment
        found.append(
            Component(
                job=job, group=group, state=state, reason=reason, start=start, nodes=nodes, name=name, comment=comment
            )
        )
    return sorted(found, key=lambda one: (int(one.job), one.group or 0))


def state_of(components: Sequence[Component]) -> State:
    """Of one job; none: Slurm knows it no more."""
    if not components:
        return State(phase="gone", says="Slurm does not know the job any more: it has ended", remedy=_after(""))
    ended = next((one for one in components if one.state not in ON), None)
    if ended is not None:
        why = "" if ended.reason in ("None", "") else f" ({ended.reason})"
        return State(phase="gone", says=f"the job has ended: {ended.state}{why}", remedy=_after(ended.state))
    waiting = [one for one in components if one.state == "PENDING"]
    if waiting:
        return _waiting(waiting)
    booting = [one.nodes for one in components if one.state == "CONFIGURING"]
    if booting:
        return State(phase="queued", says=f"Slurm starts its nodes: {', '.join(booting)}")
    return State(phase="running", says=f"the job runs on {', '.join(one.nodes for one in components)}")


def _waiting(components: Sequence[Component]) -> State:
    told = {one.reason.partition(",")[0].strip("()"): one for one in components}
    for reason, remedy in NEVER.items():
        if reason in told:
            return State(phase="queued", says=f"Slurm never starts it: {reason}", remedy=remedy)
    if beyond := next((reason for reason in told if _PER_JOB.match(reason)), ""):
        return State(phase="queued", says=f"Slurm never starts it: {beyond}", remedy=PER_JOB)
    reason = min(told, key=lambda name: _COMMON.index(name) if name in _COMMON else -1)
    known = REASONS.get(reason) or (YOURS if _YOURS.match(reason) else "")
    what = f"{reason}, {known}" if known else reason
    starts = max((one.start for one in components if one.start[:1].isdigit()), default="")
    when = f"; expected to start at {starts.replace('T', ' ')}" if starts else ""
    return State(phase="queued", says=f"in the queue: {what}{when}")


def _after(state: str) -> str:
    """What to do after a job that ended in this state."""
    if state == "PREEMPTED":
        return "A job of higher priority took its nodes: start it again, or set a [slurm] qos that is not preempted."
    if state == "TIMEOUT":
        return "Set [slurm] time higher; `--resume` goes on from its newest checkpoint."
    if state == "CANCELLED":
        return "Somebody cancelled it: `sacct -j` may say who. Start it again."
    if state == "NODE_FAIL":
        return "A node failed before the job was under way. Start it again."
    return "Start it again; `sacct` may say more of it."


def refusal(said: str) -> tuple[str, str]:
    """sbatch's words -> the cause in one line, and what to do."""
    lines = [line.partition("error:")[2].strip() or line.strip() for line in said.splitlines() if line.strip()]
    cause = lines[0] if lines else "sbatch ended without a word"
    low = said.lower()
    remedy = next((remedy for words, remedy in REFUSALS.items() if words in low), "")
    return cause, remedy or "Mend cluster.toml; `motley export slurm job.sh` writes the script to try by hand."


def who_is_who(classes: Sequence[Sequence[str]], nodes: Sequence[Sequence[str]]) -> dict[str, tuple[int, str]]:
    """The names of the hosts of each class, and the nodes of each component -> number of the component and node, by
    host. Raises ValueError where they don't match: the job is not one of this cluster.toml."""
    if [len(of) for of in classes] != [len(of) for of in nodes]:
        raise ValueError("it has other nodes")
    pairs = zip(classes, nodes, strict=True)
    return {
        host: (group, node) for group, (hosts, of) in enumerate(pairs) for host, node in zip(hosts, of, strict=True)
    }


def as_they_began(noted: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> list[list[str]]:
    """The nodes of each component as the job began. One that was lost is `noted` still; what was noted of an earlier
    start of the job, on other nodes, does not count.

    >>> as_they_began([["n1", "n2"], ["s1"]], [["n1"], ["s1"]]), as_they_began([["n1"]], [["n2"]])
    ([['n1', 'n2'], ['s1']], [['n2']])
    """
    known = {node for nodes in noted for node in nodes}
    of_now = len(noted) == len(now) and all(node in known for nodes in now for node in nodes)
    return [list(nodes) for nodes in (noted if of_now else now)]


def addresses(text: str) -> dict[str, str]:
    """`scontrol -o show node` -> the address of each node, as Slurm has it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        keys: Mapping[str, str] = dict(re.findall(r"(?:^|\s)(NodeName|NodeAddr)=(\S+)", line))
        if "NodeName" in keys:
            found[keys["NodeName"]] = keys.get("NodeAddr", keys["NodeName"])
    return found


def restarts(text: str, job: str) -> int:
    """`scontrol -o show job` -> how often the job was started once more: its first component, which runs the script.

    >>> restarts("JobId=12 HetJobOffset=1 Restarts=0\\nJobId=11 JobName=motley-night Requeue=1 Restarts=2", "11")
    2
    """
    for line in text.splitlines():
        keys = dict(re.findall(r"(?:^|\s)(JobId|Restarts)=(\d+)", line))
        if keys.get("JobId") == job:
            return int(keys.get("Restarts", 0))
    return 0


def named(components: Iterable[Component], name: str) -> list[Component]:
    """Those of the newest job of this name."""
    mine = [one for one in components if one.name == name]
    newest = max((int(one.job) for one in mine), default=None)
    return [one for one in mine if int(one.job) == newest]
