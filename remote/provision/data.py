"""`[data] push`: a folder beside cluster.toml that every host gets before a run starts, whole, and checked by hash.

`remote.session.session` and `remote.launch.calibrate` push it once the hosts have proved right. Where it lies then is
the run's `[data] path`.

    >>> folder = await folder_of(cluster, emit)
    >>> placed(cluster, folder).data.path
    '~/.motley/data/8f5a…/files'
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems
from motley.remote.config.toml_lines import key_lines
from motley.remote.errors import ConfigError, Finding, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.push_folder import push_folder

WHAT = "the data"


async def folder_of(cluster: Cluster, emit: Emit) -> Folder | None:
    """The folder as it is now; None when there is none to push. Reading it takes a while when much has changed.

    Raises ConfigError when it can't be read.
    """
    if cluster.data.push is None:
        return None
    emit(Progress(host=cluster.leader, stage="data", text=f"looking at {cluster.data.push} here"))
    return await asyncio.to_thread(_read, cluster)


def check_there(cluster: Cluster) -> None:
    """Raises ConfigError when the folder is not there: for who only looks."""
    root = _root(cluster)
    if root is not None and not root.is_dir():
        raise _wrong(cluster, f"there is no folder {root}; a path begins at the folder of cluster.toml")


def placed(cluster: Cluster, folder: Folder | None) -> Cluster:
    """The cluster whose ranks look for their data where the folder lies."""
    if folder is None:
        return cluster
    return dataclasses.replace(cluster, data=dataclasses.replace(cluster.data, path=f"~/{folder.place}"))


async def push_data(
    hosts: Hosts, folder: Folder | None, pythons: Mapping[str, str], emit: Emit, *, what: str = WHAT
) -> list[Finding]:
    """Bring it to the hosts, by their Pythons. Returns a finding for each that can't have it."""

    async def one(name: str, python: str, whole: Folder) -> Finding | None:
        try:
            await push_folder(await hosts.get(name), python, whole, what, emit)
        except HostError as error:
            return Finding(name, "data", "error", error.cause, error.remedy)
        return None

    if folder is None:
        return []
    outcomes = await asyncio.gather(*(one(name, python, folder) for name, python in pythons.items()))
    return [finding for finding in outcomes if finding is not None]


def _read(cluster: Cluster) -> Folder:
    check_there(cluster)
    root = _root(cluster)
    assert root is not None
    try:
        return Folder.of(root)
    except (OSError, ValueError) as error:
        raise _wrong(cluster, f"{root} can't be read: {error}") from error


def _root(cluster: Cluster) -> Path | None:
    if cluster.data.push is None:
        return None
    return Path(os.path.normpath(cluster.path.absolute().parent / os.path.expanduser(cluster.data.push)))


def _wrong(cluster: Cluster, text: str) -> ConfigError:
    problems = Problems(key_lines(cluster.text), cluster.path.name)
    problems.add(("data", "push"), text)
    return ConfigError(str(cluster.path), problems.lines({}))
