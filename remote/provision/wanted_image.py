"""The container image that cluster.toml wants on a host, as the host and people are told of it. Pure but for `read`.

>>> read(cluster, cluster.hosts)["box1"].name
'pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import ConfigError
from motley.remote.provision.package_list import text_of
from motley.remote.provision.virtualenv import requirements_of
from motley.trainer.devices.names import is_gpu

DIGITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image that a host builds: from these files, by name, and a base; without one, from the one that they name."""

    dockerfile: str  # its path here, for people
    files: tuple[tuple[str, str], ...]
    base: str

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([self.files, self.base]).encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    runtime: str
    image: str  # as cluster.toml has it; may be empty where one is built
    from_master: bool
    built: Built | None
    gpus: bool  # whether ranks may use them

    @property
    def name(self) -> str:
        """What the runtime there knows it by. One that is built has another name when anything of it changes."""
        return self.image if self.built is None else f"motley:{self.built.key}"

    @property
    def shown(self) -> str:
        return f"the image {self.image}" if self.built is None else f"the image built by {self.built.dockerfile}"

    @property
    def made_of(self) -> str:
        return self.image if self.built is None else self.built.dockerfile

    def request(self, inside: str, *, get: bool) -> dict[str, Any]:
        """For `trainer.bootstrap.container_image`; `inside` is the program that looks into it."""
        built = self.built
        table = None if built is None else {"key": built.key, "files": dict(built.files), "base": built.base}
        return {
            "runtime": self.runtime, "image": self.name, "get": get, "build": table, "gpus": self.gpus,
            "inside": inside,
        }  # fmt: skip


def read(cluster: Cluster, hosts: Iterable[Host]) -> dict[str, Wanted]:
    """Of each host whose ranks run in containers. Raises ConfigError for a file that can't be read."""
    return {
        host.name: Wanted(
            runtime=host.runtime,
            image=host.image or "",
            from_master=host.image_from == "master",
            built=_built(cluster, host, host.dockerfile) if host.dockerfile else None,
            gpus=host.devices == "auto" or any(is_gpu(device) for device in host.devices),
        )
        for host in hosts
        if host.runtime is not None
    }


def _built(cluster: Cluster, host: Host, dockerfile: str) -> Built:
    requirements = requirements_of(cluster, host, Path(host.requirements)) if host.requirements else ""
    packages = text_of(host.packages) if host.packages else ""
    files = (
        ("Dockerfile", _text(cluster, host, dockerfile)), ("packages.txt", packages),
        ("requirements.txt", requirements),
    )  # fmt: skip
    return Built(dockerfile=Path(dockerfile).name, files=files, base=host.image or "")


def _text(cluster: Cluster, host: Host, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        text = f"{cluster.path.name}: environment of {host.name}: dockerfile {path} can't be read: {error}"
        raise ConfigError(str(cluster.path), [text]) from error
