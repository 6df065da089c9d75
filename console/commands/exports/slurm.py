"""`motley export slurm`: the script of the job that `motley run` would submit, to be submitted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.experiment.local_disk import write_file
from motley.remote.placement.slurm_script import script
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import motley

BY_HAND_S = 3600  # that nodes which were asked for by hand wait for a run


def export_slurm(cluster: Cluster, file: Path, *, force: bool) -> int:
    """Its name goes to stdout, what to do with it to stderr. Raises UsageError, NotWritten."""
    if cluster.slurm is None:
        raise UsageError('`motley export slurm` needs a cluster.toml with [cluster] connect = "slurm" (docs/slurm.md)')
    if file.exists() and not force:
        raise UsageError(f"{file} is there already: --force writes over it")
    write_file(file, script(cluster, cluster.name, patience_s=BY_HAND_S))
    again = motley(cluster, "run", "--name", cluster.name)
    print(
        f"submit it with {pasteable(['sbatch', str(file)])}, then {again} starts the run on its nodes", file=sys.stderr
    )
    print(file)
    return 0
