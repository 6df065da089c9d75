"""What a run executes, by this machine's own files: a host that joins is given this, and nothing that a host says.

The options are those of `experiments/<run>/cluster.toml`, which a console of this machine has written there, with what
the command line changed then; without it those of cluster.toml. What the host that leads tells of the run is compared
with them, no more: whoever owns that host can keep another one out of the run, but not choose what it runs.

    >>> own = own_run(cluster, folder)
    >>> check_same(own, spec, user_code=None, folder=None)
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.remote.provision.data import placed
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.project import UserCode
from motley.trainer.contract.spec import Spec

SECTIONS = {"run": "options", "balance": "balance", "elastic": "elastic", "data": "data"}  # of the file, of a spec
_CHANGED = re.compile(r"^# --set (.+)$", re.MULTILINE)  # as `remote.config.load` writes it
_HEAD = "# Changed on the command line:"
_HASH = re.compile(r"[0-9a-f]{8,64}")


def own_run(cluster: Cluster, folder: Path) -> Cluster:
    """The cluster with the options that the run began with. Raises ConfigError for a file that can't be used."""
    kept = folder / "cluster.toml"
    if not kept.exists():
        return cluster
    text = kept.read_text(encoding="utf-8")
    before = load(kept, _CHANGED.findall(text.partition(_HEAD)[2]))
    return dataclasses.replace(
        cluster, run=before.run, balance=before.balance, elastic=before.elastic, data=before.data, task=before.task
    )


def check_same(own: Cluster, spec: Spec, *, user_code: UserCode | None, folder: Folder | None) -> None:
    """`spec`: what the host that leads says of the run. `user_code` and `folder`: the project and the data, as they
    are here now. Raises UsageError with what differs, and how to mend it."""
    theirs = spec.project_tree
    here = user_code.tree if user_code is not None else ""
    if theirs != here:
        shown = theirs if _HASH.fullmatch(theirs) else "none" if not theirs else "not to be read"
        raise _other(spec.run, f"the project here has the hash {here or 'none'}, that of the run {shown}", "its files")
    own = placed(own, folder)
    if own.data.path != spec.data.path and own.data.push is not None:
        text = f"the data here is in {own.data.path}, that of the run in {spec.data.path}"
        raise _other(spec.run, text, "the folder of [data] push")
    differing = [
        f"{section}.{key} is {value!r} here, {getattr(getattr(spec, of), key)!r} there"
        for section, of in SECTIONS.items()
        for key, value in _values(getattr(own, section)).items()
        if value != getattr(getattr(spec, of), key)
    ]
    if user_code is not None and user_code.own_task is not None:
        there = spec.own_task.parameters if spec.own_task is not None else {}
        differing += _parameters(user_code.own_task.parameters, there)
    if differing:
        raise _other(spec.run, "; ".join(differing), "cluster.toml")


def _parameters(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """What of `[task]` differs."""
    names = [name for name in dict.fromkeys((*here, *there)) if name not in here or here[name] != there.get(name)]
    return [f"task.{name} is {_shown(here, name)} here, {_shown(there, name)} there" for name in names]


def _shown(parameters: dict[str, Any], name: str) -> str:
    return repr(parameters[name]) if name in parameters else "not set"


def _values(options: Any) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def _other(run: str, text: str, what: str) -> UsageError:
    again = f"Make {what} here what it was when '{run}' began, or join from the machine that started it"
    return UsageError(f"'{run}' can't be joined from here: {text}. {again}; or start a new run")
