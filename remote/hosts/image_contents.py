"""What a host's container image holds, once somebody has looked into it: what ranks there will have.

`remote.provision.container_images` looks; `remote.hosts.pool.Hosts` keeps it, as it keeps the Python of an environment.
"""

from __future__ import annotations

from dataclasses import dataclass

from motley.trainer.contract.spec import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A package that a task needs, as pip has installed it."""

    name: str
    version: str  # empty where it is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContents:
    container: Container
    python: str  # version
    torch: str  # version; empty where there is none, as are the next two
    torch_build: str
    pillow: str = ""  # version
    libraries: tuple[Library, ...] = ()
