"""A cluster as cluster.toml describes it, checked: what everything else in `remote` reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from motley.remote.config.console_sections.track import TrackKeys
from motley.remote.config.sections import KubernetesKeys
from motley.remote.config.ways import WAYS, Connect, Way
from motley.trainer.contract import policy_name
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions
from motley.trainer.contract.task_name import CAUSAL_LM, BuiltIn, Included, Named, included, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """`[slurm]`: the login node, and what holds for the whole job."""

    address: str | None = None  # None: `sbatch` is on this machine
    user: str | None = None
    port: int | None = None
    identity: str | None = None  # absolute
    jump: str | None = None
    time: str | None = None
    account: str | None = None
    qos: str | None = None
    warning_s: int = 120
    requeue: bool = False
    sbatch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmNode:
    """What of a host Slurm decides on. `job` and what follows is known once it has (`remote.placement`)."""

    of: str  # its class: the name in cluster.toml
    partition: str | None = None
    sbatch: tuple[str, ...] = ()
    job: str = ""
    group: int | None = None  # of a heterogeneous job: the number of its component
    node: str = ""  # as Slurm calls it
    restarts: int = 0  # how often Slurm has started the job once more


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What of a host Kubernetes decides on. Which pod it is at a moment, is asked at that moment."""

    of: str  # its class: the name in cluster.toml
    number: int = 0  # among the pods of the run; the one that leads has 0
    run: str = ""  # "": there is none
    commands: bool = True  # False: nothing can be run in it, by the user's rights or since it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine, as the rest of `remote` needs it. `docs/cluster-toml.md` explains every key."""

    name: str
    address: str
    user: str | None = None  # None here and below: ~/.ssh/config decides
    port: int | None = None
    identity: str | None = None  # absolute
    jump: str | None = None
    python: str | None = "python3"  # None: the console's own interpreter, on demo hosts only
    devices: Literal["auto"] | tuple[str, ...] = "auto"  # "cpu", "cuda:0", "cuda:0+1"
    max_batch: int | None = None
    relative_speed: float | None = None  # of each of its ranks, against 1 of a host that has none
    env: dict[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    connect: Connect = "ssh"
    speed: float | None = None  # demo hosts only: above 0, at most 1
    packages: str | None = None  # name of a list that comes with Motley
    requirements: str | None = None  # absolute, as is the next
    wheels: str | None = None
    system_site_packages: bool = True
    runtime: Literal["docker", "podman"] | None = None  # of the containers that its ranks run in
    image: str | None = None
    image_from: Literal["registry", "master"] = "registry"
    dockerfile: str | None = None  # absolute
    mounts: tuple[str, ...] = ()  # folders for its containers: `trainer.contract.mount`
    nodes: int = 1  # machines of this class; this and the next four for `motley export`
    gpus: int | None = None
    cpus: float | None = None
    memory: str | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    slurm: SlurmNode | None = None
    pod: Pod | None = None

    @property
    def way(self) -> Way:
        """How it is reached, and what follows from that."""
        return WAYS[self.connect]

    @property
    def installs(self) -> bool:
        """Whether packages are installed for its ranks: in an environment, or in the image that it builds."""
        return bool(self.packages or self.requirements) and (self.runtime is None or self.dockerfile is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Who trains what: a checked cluster.toml with the command line's changes in it."""

    name: str
    leader: str  # name of a host
    port: int
    connect: Connect
    hosts: tuple[Host, ...]
    run: RunOptions
    balance: BalanceOptions
    elastic: ElasticOptions
    data: DataOptions
    path: Path
    text: str  # the file, with what the command line changed as comments at its end
    task: dict[str, Any] = field(default_factory=dict)  # [task]: parameters of a task, as JSON has them
    unheeded: tuple[str, ...] = ()  # keys in the file that are of no use to its script
    session: bool = False  # its script calls motley.session(), by the text
    slurm: SlurmOptions | None = None  # where hosts are nodes of a Slurm job
    verb: str = "run"  # what the user called, for commands to paste
    words: tuple[str, ...] = ()  # after `motley run`, to load the same again
    kubernetes: KubernetesKeys = field(default_factory=KubernetesKeys)
    track: TrackKeys = field(default_factory=TrackKeys)

    @property
    def own_task(self) -> Named | None:
        """The task of the user's own that is trained; None for one that comes with Motley, and for a script."""
        named = parse(self.run.task) if self.run.program is None else None
        return named if isinstance(named, Named) else None

    @property
    def included(self) -> Included | None:
        """The task with parameters that comes with Motley; None for any other, and for a script."""
        return included(self.run.task) if self.run.program is None else None

    @property
    def is_language_model(self) -> bool:
        return self.run.program is None and self.run.task == CAUSAL_LM

    @property
    def dataset(self) -> str:
        """The name of the data set that comes with Motley; empty for a task of the user's own, and for a script."""
        named = parse(self.run.task) if self.run.program is None else None
        return named.dataset if isinstance(named, BuiltIn) else ""

    @property
    def own_policy(self) -> Named | None:
        """The balancing policy of the user's own; None for one that comes with Motley, and for a script that is no
        session."""
        return policy_name.parse(self.balance.policy) if self.run.program is None or self.session else None

    @property
    def has_project(self) -> bool:
        """Whether hosts need files of the user's own: a script's, a task's, or a policy's."""
        return self.run.program is not None or self.own_task is not None or self.own_policy is not None

    @property
    def coordinator_port(self) -> int:
        """Where members call the coordinator. The ranks of a script meet at `port` by themselves: it takes the next."""
        return self.port if self.run.program is None else self.port + 1

    @property
    def leader_ports(self) -> tuple[int, ...]:
        """Those that a run takes on the leader."""
        return tuple(dict.fromkeys((self.port, self.coordinator_port)))
