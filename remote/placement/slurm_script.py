"""The script of a Slurm job whose nodes are the hosts of a cluster. Pure.

One class of nodes is an ordinary job; several are a heterogeneous one, a component each. On every node a keeper runs
(`trainer.keeper.keep_node`), through which consoles start what they want there; when the last has ended, so does the
job. A node that dies takes nobody with it (`--no-kill`).

    >>> print(script(cluster, "night"))
    #!/bin/sh
    #SBATCH --job-name=motley-night
    …
"""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from motley.remote.config.cluster import Cluster, Host, SlurmNode, SlurmOptions
from motley.trainer import keeper

PREFIX = "motley-"
PATIENCE_S = 600  # of a keeper, for the first run
IDLE_S = 30  # of a keeper after a run: with no process left, and nobody who asks for anything
_TEXT = "MOTLEY_KEEPER"

_HEAD = """\
# Nodes for Motley: each keeps a process through which consoles start a run there. The job ends by itself some seconds
# after the run has; without one, after {patience} s.
unset SLURM_EXPORT_ENV
keeper=$(cat <<'{mark}'
{text}
{mark}
)
keep() {{ # PYTHON OPTION... : one keeper a node
    python=$1
    shift
    srun "$@" --no-kill --kill-on-bad-exit=0 --wait=0 --export=ALL \\
        "$python" -c "$keeper" "{prefix}$SLURM_JOB_ID" {patience} {idle} &
}}
"""


def job_name(run: str) -> str:
    return PREFIX + run


def classes(cluster: Cluster) -> list[list[Host]]:
    """The hosts of each class, in the order of cluster.toml: a component of the job each."""
    return [list(hosts) for _, hosts in itertools.groupby(cluster.hosts, key=lambda host: _about(host).of)]


def script(cluster: Cluster, run: str, *, patience_s: int = PATIENCE_S) -> str:
    """Raises ValueError for a cluster that is not one of Slurm's."""
    options = cluster.slurm
    if options is None:
        raise ValueError("no cluster of Slurm's")
    groups = classes(cluster)
    lines = ["#!/bin/sh"]
    for number, hosts in enumerate(groups):
        lines += ["#SBATCH hetjob"] * bool(number)
        lines += [f"#SBATCH {option}" for option in _options(options, hosts, job_name(run))]
    text = (Path(keeper.__file__).parent / "keep_node.py").read_text(encoding="utf-8").strip()
    head = _HEAD.format(patience=patience_s, idle=IDLE_S, mark=_TEXT, text=text, prefix=PREFIX)
    several = len(groups) > 1
    lists = [f"$SLURM_JOB_NODELIST_HET_GROUP_{n}" for n in range(len(groups))] if several else ["$SLURM_JOB_NODELIST"]
    # A node that is lost leaves the job's list of nodes; who is who must stay the same all the same.
    note = f'scontrol update JobId="$SLURM_JOB_ID" Comment="{";".join(lists)}" || true'
    keeps = [_keep(hosts, number if several else None) for number, hosts in enumerate(groups)]
    return "\n".join([*lines, head, note, *keeps, "wait", ""])


def _options(options: SlurmOptions, hosts: list[Host], name: str) -> list[str]:
    """Of one component. What holds for all is said of each: not all of it goes over to the next."""
    about = _about(hosts[0])
    named = {"time": options.time, "account": options.account, "qos": options.qos, "partition": about.partition}
    return [
        f"--job-name={name}",
        "--no-kill",
        "--no-requeue",
        "--export=NONE",
        "--output=/dev/null",
        f"--nodes={len(hosts)}",
        "--ntasks-per-node=1",
        *(f"--{key}={value}" for key, value in named.items() if value),
        *options.sbatch,
        *about.sbatch,
    ]


def _keep(hosts: list[Host], group: int | None) -> str:
    python = hosts[0].python or "python3"
    home = '"$HOME"/' + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)
    return " ".join(["keep", home, *([f"--het-group={group}"] if group is not None else []), f"--ntasks={len(hosts)}"])


def _about(host: Host) -> SlurmNode:
    if host.slurm is None:
        raise ValueError(f"{host.name} is no node of Slurm's")
    return host.slurm
