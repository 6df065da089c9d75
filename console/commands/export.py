"""`motley export`: the trained weights of a run in a file, for others to read."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from motley.console.commands.json_output import print_data
from motley.console.control.terminal_prompts import asker
from motley.remote.config.cluster import Cluster
from motley.remote.errors import NotWritten, UsageError
from motley.remote.placement.slurm_script import script
from motley.remote.quoting import pasteable
from motley.remote.session.exported_model import Exported, export
from motley.remote.ssh.new_host_keys import nobody

BY_HAND_S = 3600  # that nodes which were asked for by hand wait for a run


def export_model(cluster: Cluster, run: str, file: Path, *, best: bool, merge: bool, force: bool, json: bool) -> int:
    """The name of the file, or of the folder, goes to stdout; with `json` an object. Raises what
    `remote.session.exported_model` does."""

    def warn(text: str) -> None:
        print(f"! {text}", file=sys.stderr)

    ask = nobody if json else asker()
    found = asyncio.run(export(cluster, run, file, best=best, merge=merge, force=force, warn=warn, ask=ask))
    if json:
        print_data(_data(run, file, found))
    else:
        print(_told(run, file, found), file=sys.stderr)
        print(file)
    return 0


def export_script(cluster: Cluster, engine: str, file: Path, *, force: bool) -> int:
    """The script of the job that `motley run` would submit, to be submitted by hand. Raises UsageError, NotWritten."""
    if engine != "slurm" or cluster.slurm is None:
        text = f"`motley export {engine}` needs a cluster.toml with [cluster] connect"
        raise UsageError(f'{text} = "slurm" (docs/slurm.md); for a run that is called so there is no export')
    if file.exists() and not force:
        raise UsageError(f"{file} is there already: --force writes over it")
    try:
        file.write_text(script(cluster, cluster.name, patience_s=BY_HAND_S), encoding="utf-8")
    except OSError as error:
        raise NotWritten(f"{file} can't be written: {error.strerror}") from error
    again = pasteable(["motley", "run", "--name", cluster.name])
    print(f"submit it with sbatch {file}, then {again} starts the run on its nodes", file=sys.stderr)
    print(file)
    return 0


def _data(run: str, file: Path, found: Exported) -> dict[str, Any]:
    about = {"run": run, "file": str(file), "bytes": found.bytes, "host": found.host, "checkpoint": found.checkpoint}
    return {**about, "metadata": found.metadata}


def _told(run: str, file: Path, found: Exported) -> str:
    """`night at step 60 (final.pt of box1), accuracy 97.3 %: 0.3 MB in night.safetensors`."""
    accuracy = found.metadata.get("accuracy")
    how_good = f", accuracy {accuracy:.1%}" if isinstance(accuracy, (int, float)) else ""
    where = f"step {found.metadata.get('step')} ({found.checkpoint} of {found.host})"
    return f"'{run}' at {where}{how_good}: {found.bytes / 1e6:.1f} MB in {file}"
