"""The sections of cluster.toml as they are written: every key with its type, default, bounds and meaning.

The sections that reach the hosts are defined in `trainer.contract.spec`; the ones only the master reads are here.
`remote.config.schema` validates against these classes and makes the reference page from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motley.remote.config import value_rules
from motley.remote.config.ways import Connect
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions, option
from motley.trainer.devices.names import CPU, numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKeys:
    """`[cluster]`: what holds for all hosts together."""

    name: str | None = option(
        None,
        "begins the names of its runs; by default the name of the folder that cluster.toml lies in",
        check=value_rules.name_problem,
    )
    leader: str | None = option(
        None, "name of the host where the ranks meet and checkpoints are written; by default the first"
    )
    port: int = option(29500, "where the ranks meet, on the leader", ge=1024, le=65535)
    connect: Connect = option(
        "ssh",
        "how hosts are reached; demo: the console serves them itself, for trying Motley; "
        "local, of one host: it is the machine that you sit at",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKeys:
    """`[[hosts]]`: one machine."""

    name: str | None = option(None, "what Motley calls it; required", check=value_rules.name_problem)
    address: str | None = option(
        None,
        "host name, name from ~/.ssh/config, or numeric address; by default the name; with connect = "
        '"local" none, and it is where other machines of yours reach this one over SSH',
        check=value_rules.address_problem,
    )
    user: str | None = option(None, "user there; by default what ~/.ssh/config says", check=value_rules.user_problem)
    port: int | None = option(None, "of its SSH server; by default what ~/.ssh/config says, else 22", ge=1, le=65535)
    identity: str | None = option(
        None, "private key file, from the folder of cluster.toml; by default ssh's own", check=value_rules.path_problem
    )
    jump: str | None = option(
        None, "hosts to go through, as in ssh -J: [user@]address[:port]", check=value_rules.jump_problem
    )
    python: str | None = option(
        None,
        "Python 3.10 or newer with torch, there; by default python3, on demo hosts and this machine the console's own",
        check=value_rules.path_problem,
    )
    devices: Literal["auto"] | tuple[str | int | tuple[str | int, ...], ...] = option(
        "auto",
        "a rank is started for each; auto: every GPU that torch can use there, else the CPU",
        check=value_rules.devices_problem,
        words=f'"auto" or a list such as ["{numbered(0)}", "{CPU}"]',
    )
    max_batch: int | None = option(None, "most samples of a step that one of its ranks may be given", ge=1)
    relative_speed: float | None = option(
        None,
        "how fast each of its ranks is against a host without this key, for the first shares where no profile says it; "
        "takes the place of the guess from the device's name",
        gt=0,
    )
    env: dict[str, str] = option({}, "environment variables of its ranks", check=value_rules.env_problem)
    pass_env: tuple[str, ...] = option(
        (),
        "variables of the console's environment to pass on to its ranks, never logged",
        check=value_rules.variables_problem,
    )
    packages: str | None = option(
        None,
        'list of packages for this host; by default that of [environment], "" for none',
        check=value_rules.optional_packages_problem,
    )
    requirements: str | None = option(
        None,
        'requirements file for this host; by default that of [environment], "" for none',
        check=value_rules.optional_path_problem,
    )
    wheels: str | None = option(
        None,
        'folder of wheels for this host; by default that of [environment], "" for none',
        check=value_rules.optional_path_problem,
    )
    runtime: Literal["docker", "podman", ""] | None = option(
        None, 'what its ranks run in a container of; by default as [environment] says, "" for none'
    )
    image: str | None = option(
        None, "image for this host; by default that of [environment]", check=value_rules.image_problem
    )
    image_from: Literal["registry", "master"] | None = option(None, "for this host; by default as [environment] says")
    dockerfile: str | None = option(
        None,
        'Dockerfile for this host; by default that of [environment], "" for none',
        check=value_rules.optional_path_problem,
    )
    mounts: tuple[str, ...] = option(
        (),
        "folders for the containers of this host; by default those of [environment], [] for none",
        check=value_rules.mounts_problem,
    )
    connect: Connect | None = option(
        None,
        "for this host; by default that of [cluster]; local: [the machine you sit at](this-machine.md), without an SSH "
        "server",
    )
    speed: float | None = option(
        None, "demo hosts only: the fraction of full speed that is emulated; by default 1", gt=0, le=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentKeys:
    """`[environment]`: a virtual environment made on every host, or a container image, and the ranks run in it."""

    packages: str | None = option(
        None,
        'list of packages that comes with Motley; "llm": what [language models](environment.md#lists-of-packages) need',
        check=value_rules.packages_problem,
    )
    requirements: str | None = option(
        None,
        "pip's requirements file, from the folder of cluster.toml; a change of it makes a new environment",
        check=value_rules.path_problem,
    )
    wheels: str | None = option(
        None,
        "folder of wheels, from the folder of cluster.toml, that is pushed and the only place to install from",
        check=value_rules.path_problem,
    )
    system_site_packages: bool = option(
        True, "what the host's python has, such as torch, is there too (venv's --system-site-packages)"
    )
    runtime: Literal["docker", "podman"] | None = option(
        None, "ranks run in containers of it; the rest of a run stays outside, with the host's python"
    )
    image: str | None = option(
        None,
        "container image that has Python 3.10 and torch; with dockerfile, what that begins with (its ARG BASE)",
        check=value_rules.image_problem,
    )
    image_from: Literal["registry", "master"] = option(
        "registry", "master: the image that this machine has is sent to every host that has not the same"
    )
    dockerfile: str | None = option(
        None,
        "from the folder of cluster.toml: every host builds its image by it, with the requirements as requirements.txt",
        check=value_rules.path_problem,
    )
    mounts: tuple[str, ...] = option(
        (),
        'folders of each host for its containers, such as "~/.cache/huggingface", "/srv/models:/models:ro": at the '
        "same path inside or another, to write unless :ro follows",
        check=value_rules.mounts_problem,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKeys:
    """`[task]`: parameters of the task: of `causal_lm`, or of your own, any values but dates and times."""


SECTIONS: dict[str, type] = {
    "cluster": ClusterKeys,
    "defaults": HostKeys,
    "hosts": HostKeys,
    "run": RunOptions,
    "task": TaskKeys,
    "balance": BalanceOptions,
    "elastic": ElasticOptions,
    "data": DataOptions,
    "environment": EnvironmentKeys,
}
NOT_IN_DEFAULTS = ("name", "address")  # no two hosts share these
