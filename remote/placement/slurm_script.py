"""The script of a Slurm job whose nodes are the hosts of a cluster. Pure.

One class of nodes is an ordinary job; several are a heterogeneous one, a component each. On every node a keeper runs
(`trainer.keeper.keep_node`), through which consoles start what they want there; when the last has ended, so does the
job. A node that dies takes nobody with it (`--no-kill`). Before its time is over Slurm tells the script, which has the
keepers tell the run; where `[slurm] requeue` is set, the job is queued again once all have ended.

    >>> print(script(cluster, "night"))
    #!/bin/sh
    #SBATCH --job-name=motley-night
    …
"""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

from motley.remote.config.cluster import Cluster, Host, SlurmNode, SlurmOptions
from motley.remote.placement import slurm_note
from motley.trainer import keeper

PREFIX = "motley-"
PATIENCE_S = 600  # of a keeper, for the first run
IDLE_S = 30  # of a keeper after a run: with no process left, and nobody who asks for anything
_TEXT = "MOTLEY_KEEPER"

_HEAD = """\
# Nodes for Motley: each keeps a process through which consoles start a run there. The job ends by itself some seconds
# after the run has; without one, after {patience} s. What they say goes to --output. They get all CPUs of the job on
# their node (--cpu-bind=none): srun does not take --cpus-per-task over from sbatch, and nodes may bind a task to one.
unset SLURM_EXPORT_ENV
keeper=$(cat <<'{mark}'
{text}
{mark}
)
pids=
keep() {{ # PYTHON HOSTS OPTION... : one keeper a node
    python=$1
    hosts=$2
    shift 2
    srun "$@" --no-kill --kill-on-bad-exit=0 --wait=0 --cpu-bind=none --export=ALL \\
        "$python" -c "$keeper" "{prefix}$SLURM_JOB_ID" {patience} {idle}{again} &
    pids="$pids $!"
}}
"""
_AGAIN = """\
# When Slurm has started the job again, the keepers take the run up where it was.
export MOTLEY_REQUEUE=1
leader=$(scontrol show hostnames "{list}" | sed -n {place}p)
address=$(scontrol -o show node "$leader" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
"""
_AGAIN_WORDS = ' {run} "$hosts" {leader} "$address" "${{SLURM_RESTART_COUNT:-0}}"'
_WARNED = """\
# Slurm says that the job ends soon: every keeper is told.
asking=$(cat <<'{mark}'
{text}
{mark}
)
requeue=
tell() {{ # PYTHON NODES OPTION...
    python=$1
    nodes=$2
    shift 2
    for node in $(scontrol show hostnames "$nodes"); do
        srun "$@" --nodelist="$node" --nodes=1 --ntasks=1 --overlap --mem=0 --gres=none --quiet --export=ALL \\
            "$python" -c "$asking" "{prefix}$SLURM_JOB_ID" 5 'kill -s USR1 $PPID' </dev/null &
    done
}}
warned() {{
{tells}
}}
trap warned USR1
"""
_REQUEUES = """\
    requeue=yes
    ( # as long as this script runs: what it has left must not requeue the next start of the job
        left={seconds}
        while [ $((left -= 1)) -ge 0 ]; do
            sleep 1
            kill -0 $$ 2>/dev/null || exit
        done
        scontrol requeue "$SLURM_JOB_ID"
    ) &
"""
_WAIT = """\
for pid in $pids; do
    while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
done
"""
_REQUEUE = """\
if [ -n "$requeue" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
"""
LAST_S = 20  # before the end of a job that is to be requeued: it is, whether the run has ended or not


def job_name(run: str) -> str:
    return PREFIX + run


def classes(cluster: Cluster) -> list[list[Host]]:
    """The hosts of each class, in the order of cluster.toml: a component of the job each."""
    return [list(hosts) for _, hosts in itertools.groupby(cluster.hosts, key=lambda host: about(host).of)]


def script(cluster: Cluster, run: str, *, patience_s: int = PATIENCE_S) -> str:
    """Raises ValueError for a cluster that is not one of Slurm's."""
    options = cluster.slurm
    if options is None:
        raise ValueError("no cluster of Slurm's")
    groups = classes(cluster)
    named = [(about(of[0]).of, [host.name for host in of]) for of in groups]
    lines = ["#!/bin/sh"]
    for number, hosts in enumerate(groups):
        lines += ["#SBATCH hetjob"] * bool(number)
        # Its hosts from the beginning: a console may find the job before the script has noted its nodes, too.
        comment = [f"--comment={slurm_note.note(named, [])}"] * (not number)
        lines += [f"#SBATCH {option}" for option in [*comment, *_options(options, hosts, job_name(run))]]
        if options.warning_s and not number:  # of the component that the script runs in
            lines.append(f"#SBATCH --signal=B:USR1@{options.warning_s}")
    several = len(groups) > 1
    lists = [f"$SLURM_JOB_NODELIST_HET_GROUP_{n}" for n in range(len(groups))] if several else ["$SLURM_JOB_NODELIST"]
    again = ""
    if options.requeue:
        lines.append(_again(cluster, groups, lists))
        again = _AGAIN_WORDS.format(run=shlex.quote(run), leader=shlex.quote(cluster.leader))
    head = _HEAD.format(
        patience=patience_s, idle=IDLE_S, mark=_TEXT, text=_program("keep_node"), prefix=PREFIX, again=again
    )
    # A node that is lost leaves the job's list of nodes; who is who must stay the same all the same.
    note = f'scontrol update JobId="$SLURM_JOB_ID" Comment="{slurm_note.note(named, lists)}" || true'
    places = [_place(hosts, number if several else None) for number, hosts in enumerate(groups)]
    warned = [_warned(options, places, lists)] if options.warning_s else []
    keeps = [
        " ".join(["keep", python, ",".join(host.name for host in hosts), *option, f"--ntasks={len(hosts)}"])
        for hosts, (python, option) in zip(groups, places, strict=True)
    ]
    ends = [_WAIT + _REQUEUE * options.requeue]
    return "\n".join([*lines, head, note, *warned, *keeps, *ends])


def _again(cluster: Cluster, groups: list[list[Host]], lists: list[str]) -> str:
    """Where the host that leads is in a job that was started again."""
    number = next(n for n, hosts in enumerate(groups) if cluster.leader in [host.name for host in hosts])
    place = [host.name for host in groups[number]].index(cluster.leader) + 1
    return _AGAIN.format(list=lists[number], place=place)


def _warned(options: SlurmOptions, places: list[tuple[str, list[str]]], lists: list[str]) -> str:
    tells = [
        f"    tell {' '.join([python, json.dumps(nodes), *option])}" for (python, option), nodes in zip(places, lists)
    ]
    requeues = _REQUEUES.format(seconds=max(1, options.warning_s - LAST_S)) if options.requeue else ""
    told = "\n".join(tells)
    return _WARNED.format(mark=_TEXT, text=_program("ask_keeper"), prefix=PREFIX, tells=requeues + told)


def _program(name: str) -> str:
    return (Path(keeper.__file__).parent / f"{name}.py").read_text(encoding="utf-8").strip()


def _options(options: SlurmOptions, hosts: list[Host], name: str) -> list[str]:
    """Of one component. What holds for all is said of each: not all of it goes over to the next."""
    node = about(hosts[0])
    named = {"time": options.time, "account": options.account, "qos": options.qos, "partition": node.partition}
    return [
        f"--job-name={name}",
        "--no-kill",
        "--requeue" if options.requeue else "--no-requeue",
        "--export=NONE",
        "--output=/dev/null",
        f"--nodes={len(hosts)}",
        "--ntasks-per-node=1",
        *(f"--{key}={value}" for key, value in named.items() if value),
        *options.sbatch,
        *node.sbatch,
    ]


def _place(hosts: list[Host], group: int | None) -> tuple[str, list[str]]:
    """The Python of a component's nodes, as a word of sh's, and which component it is."""
    python = hosts[0].python or "python3"
    home = '"$HOME"/' + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)
    return home, [f"--het-group={group}"] if group is not None else []


def about(host: Host) -> SlurmNode:
    """Raises ValueError for a host that is no node of Slurm's."""
    if host.slurm is None:
        raise ValueError(f"{host.name} is no node of Slurm's")
    return host.slurm
