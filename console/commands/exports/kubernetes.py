"""`motley export kubernetes`: the run that cluster.toml describes, as manifests of Kubernetes."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import datetime, timezone
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_run_name, new_run_name
from motley.remote.config.value_rules import nearest_label
from motley.remote.errors import NotWritten, UsageError
from motley.remote.experiment.local_disk import write_file
from motley.remote.kubernetes.documents import Kind
from motley.remote.kubernetes.manifests import manifests
from motley.remote.quoting import pasteable

STDOUT = Path("-")
LONGEST = 24  # of the cluster's name in that of a run


def export_kubernetes(cluster: Cluster, name: str | None, kind: Kind, file: Path | None, *, force: bool) -> int:
    """Without a file, or with `-`, the manifests go to stdout; else the name of the file does. Raises ConfigError and
    UsageError as `remote.kubernetes.manifests` does, and UsageError where the file is there or can't be written."""
    run = name or new_label(cluster, datetime.now(timezone.utc))
    check_run_name(run)
    made = manifests(cluster, run, kind, token=secrets.token_hex(32), environ=os.environ)
    for note in made.notes:
        print(f"! {note}", file=sys.stderr)
    if file is None or file == STDOUT:
        sys.stdout.write(made.text)
        return 0
    _write(file, made.text, force=force)
    starts = pasteable(["kubectl", "apply", "--server-side", "-f", str(file)])
    print(f"'{run}': {starts} starts it", file=sys.stderr)
    print(file)
    return 0


def new_label(cluster: Cluster, now: datetime) -> str:
    """A name as of any run, in small letters and short: names of pods have it in them.

    >>> new_label(cluster, datetime.now(timezone.utc))
    'my-models-1121-0345'
    """
    _, day, time = new_run_name(cluster, now).rsplit("-", 2)
    return f"{nearest_label(cluster.name)[:LONGEST].rstrip('-')}-{day[4:]}-{time[:4]}"


def _write(file: Path, text: str, *, force: bool) -> None:
    """For the user alone: a Secret is in it."""
    if file.exists() and not force:
        raise UsageError(f"{file} is there already; --force writes over it")
    try:
        write_file(file, text, 0o600)
    except NotWritten as error:
        raise UsageError(str(error)) from error
