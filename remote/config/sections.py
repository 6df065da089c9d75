"""The sections of cluster.toml as they are written: every key with its type, default, bounds and meaning.

The sections that reach the hosts are defined in `trainer.contract.spec`; the ones only the master reads are here.
`remote.config.schema` validates against these classes and makes the reference page from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motley.remote.config import value_rules
from motley.remote.config.console_sections.slurm import SlurmKeys
from motley.remote.config.console_sections.track import TrackKeys
from motley.remote.config.ways import Connect
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions, option
from motley.trainer.devices.names import CPU, numbered

MOST_NODES = 1000  # of a class


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
        "local, of one host: it is the machine that you sit at; slurm: they are nodes of [a job](slurm.md); "
        "kubernetes: they are [pods](kubernetes.md)",
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
        "a rank is started for each; auto: every GPU that torch can use there, else the CPU; "
        f'a list in the list, [["{numbered(0)}", "{numbered(1)}"]]: one rank computes on all of its cards '
        "(docs/language-models.md)",
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
    nodes: int = option(
        1,
        'how many machines of this class there are; above 1 with connect = "slurm", where they are fast-1, fast-2, '
        'with connect = "kubernetes", where they are fast-0, fast-1, and for `motley export kubernetes`',
        ge=1,
        le=MOST_NODES,
    )
    partition: str | None = option(
        None, 'with connect = "slurm": of these nodes; by default Slurm\'s own', check=value_rules.slurm_problem
    )
    sbatch: tuple[str, ...] = option(
        (),
        'with connect = "slurm": further options for these nodes, one in each text, such as "--gres=gpu:1"',
        check=value_rules.sbatch_problem,
    )
    gpus: int | None = option(
        None, "GPUs of each machine that its pod asks Kubernetes for; by default those in devices", ge=0, le=64
    )
    cpus: float | None = option(None, "cores that its pod asks Kubernetes for", gt=0)
    memory: str | None = option(
        None, 'memory that its pod asks Kubernetes for, and may use at most, such as "32Gi"',
        check=value_rules.quantity_problem,
    )  # fmt: skip
    node_selector: dict[str, str] = option(
        {},
        "labels of the nodes that its pods may run on, in Kubernetes",
        check=value_rules.node_selector_problem,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesKeys:
    """`[kubernetes]`: what [`connect = "kubernetes"`](kubernetes.md) and `motley export kubernetes` need besides hosts
    and run."""

    kind: Literal["pytorchjob", "trainjob", "jobset"] = option(
        "pytorchjob", "what the run is in the cluster: the operator that it has"
    )
    context: str | None = option(
        None, "of kubectl, which names the cluster; by default its current one", check=value_rules.context_problem
    )

    image: str | None = option(
        None,
        "image of the pods, with torch, Motley and what the task needs; by default motley:<version>, which "
        "examples/kubernetes/Dockerfile makes",
        check=value_rules.image_problem,
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = option(
        "IfNotPresent", "when a node fetches the image from its registry"
    )
    pull_secret: str | None = option(
        None, "Secret that is there already and opens the image's registry", check=value_rules.subdomain_problem
    )
    namespace: str | None = option(
        None, "namespace of all that is written; by default that of kubectl", check=value_rules.label_problem
    )
    service_account: str | None = option(
        None, "ServiceAccount of the pods, which is there already", check=value_rules.subdomain_problem
    )
    gpu_resource: str = option(
        "nvidia.com/gpu", "under which name the cluster counts GPUs", check=value_rules.resource_problem
    )
    interface: str | None = option(
        None,
        "network interface of the pods for gloo and NCCL; by default the one that has the pod's address",
        check=value_rules.interface_problem,
    )
    shm: str = option("2Gi", "size of /dev/shm, in memory", check=value_rules.quantity_problem)
    storage_class: str | None = option(
        None, "of the volumes that are asked for; by default the cluster's own", check=value_rules.subdomain_problem
    )
    access: Literal["ReadWriteMany", "ReadWriteOnce"] = option(
        "ReadWriteMany", "of these volumes; ReadWriteOnce: only the pod that leads has them"
    )
    workspace: str | None = option(
        None,
        "size of a volume to ask for at /workspace, the home of the pods: logs, checkpoints, what a script writes; "
        "without one it goes with the pod",
        check=value_rules.quantity_problem,
    )
    workspace_claim: str | None = option(
        None, "a claim that is there already, in place of it", check=value_rules.subdomain_problem
    )
    models: str | None = option(
        None,
        "size of a volume to ask for at /models: models of the hub, downloaded once (HF_HOME)",
        check=value_rules.quantity_problem,
    )
    models_claim: str | None = option(
        None, "a claim that is there already, in place of it", check=value_rules.subdomain_problem
    )
    tracker: str | None = option(
        None,
        "size of a volume to ask for at /tracker, of the pod that leads: a tracker's files (AIM_REPO)",
        check=value_rules.quantity_problem,
    )
    tracker_claim: str | None = option(
        None, "a claim that is there already, in place of it", check=value_rules.subdomain_problem
    )
    sidecars: bool = option(False, "true: a service mesh may put its own containers into the pods")


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
    "kubernetes": KubernetesKeys,
    "slurm": SlurmKeys,
    "track": TrackKeys,
}
NOT_IN_DEFAULTS = ("name", "address")  # no two hosts share these
