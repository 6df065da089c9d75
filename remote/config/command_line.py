"""What the command line asks of a cluster, checked: names of runs, what needs a task, what can be resumed."""

from __future__ import annotations

from datetime import datetime, timezone

from motley.remote.config import value_rules
from motley.remote.config.check_script import program_key
from motley.remote.config.cluster import Cluster
from motley.remote.config.resume_from import ResumeFrom, trailer_of
from motley.remote.errors import UsageError
from motley.remote.sanitize import clean

ENGINES = ("kubernetes", "slurm")  # of which a run can't have the name


def new_run_name(cluster: Cluster, now: datetime) -> str:
    """`<cluster>-<UTC time>`: motley-20261121-034500. A long cluster name is cut, so that the whole is a valid name."""
    stamp = now.astimezone(timezone.utc).strftime("-%Y%m%d-%H%M%S")
    return cluster.name[: value_rules.NAME_CHARS - len(stamp)] + stamp


def check_run_name(name: str) -> None:
    """Raises `UsageError` when a run can't have this name: it is a folder's on every host."""
    problem = value_rules.name_problem(name)
    if name in ENGINES:
        problem = f"is that of an engine: `motley export {name}` means the engine. Take another one"
    if problem:
        raise UsageError(clean(f'the name of a run, "{name}", {problem}'))


def needs_task(cluster: Cluster, what: str) -> None:
    """Raises UsageError when the run is of a script without a loop of ours, for `what` that can't do."""
    if cluster.run.program is not None and not cluster.session:
        text = f"{what} is for a task, or for a script that calls motley.session()"
        raise UsageError(f"{text}; {cluster.run.program} ([run] {program_key(cluster.run)}) does not")


def check_resume(resume: str | None) -> None:
    """Raises UsageError for a `--resume` that names nothing."""
    wanted = ResumeFrom.of(resume) if resume is not None else None
    if wanted is not None and wanted.file is not None:
        trailer_of(wanted.file)
