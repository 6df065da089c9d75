"""What a run is asked to do: the options of cluster.toml that reach the hosts, and the spec each host is given.

The master validates cluster.toml against the option classes here (one definition of every key: its type, default,
bounds and meaning), then sends each host a `Spec` on the supervisor's standard input. Standard library only.
    >>> Spec.from_json(spec.to_json()) == spec
    True
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import field
from typing import Any, Literal

from motley.trainer.contract import policy_name
from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.script import Script, name_of
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.light_dataclass import light_dataclass

PROTOCOL = 1


def option(default: Any, doc: str, **bounds: Any) -> Any:
    """A field of an options class: its default, one line of doc, and bounds (`ge`, `gt`, `le`, `lt`) for validation."""
    if isinstance(default, (list, dict, tuple)):
        return field(default_factory=lambda: type(default)(default), metadata={"doc": doc, **bounds})
    return field(default=default, metadata={"doc": doc, **bounds})


@light_dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`[run]`: what is trained and for how long."""

    task: str = option(
        "simple_cnn/digits",
        'model/dataset, "causal_lm", or a task of your own: a file such as "night.py", or "package.module:Name"',
    )
    script: str | None = option(
        None, "in place of task: a script of your own, its path from the folder of cluster.toml"
    )
    module: str | None = option(
        None, 'in place of script: a module of your project, such as "src.training.main", as after python -m'
    )
    command: tuple[str, ...] = option(
        (), 'in place of script: a program and its first arguments, such as ["accelerate", "launch", "train.py"]'
    )
    args: tuple[str, ...] = option((), "arguments of the script, the module or the command")
    project: str | None = option(
        None,
        "folder that is pushed to every host for the script, a task or a policy of your own; by default the one that "
        "holds it, for a module or a command that of cluster.toml",
    )
    results: tuple[str, ...] = option(
        (), 'what a script writes and you want here, by patterns from its working folder, such as ["out/**"]'
    )
    results_from: Literal["rank0", "all"] = option("rank0", "whose results: those of rank 0's host, or of every host")
    results_gib: float = option(20.0, "the most that the results of one host may take here, in GiB", gt=0)
    global_batch: int = option(256, "samples of one optimizer step, over all ranks", ge=1)
    epochs: int = option(10, "passes over the training data; not with steps", ge=1)
    steps: int | None = option(None, "optimizer steps in all; takes the place of epochs", ge=1)
    learning_rate: float = option(0.05, "of the optimizer, at its start", gt=0)
    schedule: Literal["constant", "cosine"] = option("cosine", "of the learning rate, over the whole run")
    warmup_steps: int = option(
        0, "steps in which the learning rate rises linearly before the schedule; not with one of the task's own", ge=0
    )
    optimizer: Literal["sgd", "adamw"] = option("sgd", "sgd with momentum, or adamw")
    momentum: float = option(0.9, "of sgd", ge=0, lt=1)
    weight_decay: float = option(0.0, "of every parameter, or with weight_decay_groups of some", ge=0)
    weight_decay_groups: bool = option(
        False, "true: no weight_decay for biases and norms; not with an optimizer of the task's own"
    )
    clip_norm: float | None = option(None, "largest norm of the global gradient", gt=0)
    precision: Literal["fp32", "bf16", "fp16", "auto"] = option(
        "fp32",
        "mixed precision: what forward passes are computed in; auto: bf16 or fp16 where every rank has instructions "
        "for it; fp32: as the model is",
    )
    activation_checkpointing: bool = option(
        False, "true: repeated blocks of the model compute their activations again in backward, for less memory"
    )
    compile: bool = option(False, "true: the model's forward pass is compiled for training, where torch can")
    accumulate: int = option(
        1, "parts in which a rank computes its samples of a step, for less memory; gradients are sent once a step", ge=1
    )
    compress: Literal["none", "fp16", "bf16"] = option(
        "none", "gradients as sent between hosts: half the bytes, about three (fp16) or two (bf16) digits"
    )
    local_steps: int = option(
        1, "above 1, ranks train apart for so many steps, then average; learns differently from one machine", ge=1
    )
    outer_learning_rate: float = option(0.7, "with local_steps: of the step along the averaged change", gt=0)
    outer_momentum: float = option(0.5, "with local_steps: Nesterov momentum of the averaged change", ge=0, lt=1)
    dropout: float = option(0.0, "part of the last layer's inputs that a step leaves out, by chance", ge=0, lt=1)
    norm: Literal["batch", "group"] = option("batch", "group makes every split exactly equal in what it learns")
    dtype: Literal["float32", "float64"] = option(
        "float32", "of weights and data; float64 is slow, and exact to compare"
    )
    seed: int = option(0, "of the order of samples, the first weights and augmentation", ge=0)
    num_samples: int = option(4096, "size of synthetic data", ge=1)
    backend: Literal["auto", "gloo", "nccl", "xccl"] = option(
        "auto",
        "auto: nccl when all ranks are GPUs of one host, else gloo; with nccl a lost host may end the run; Intel's "
        "cards have xccl in its place, always",
    )
    threads: int | None = option(
        None, "CPU threads a rank; by default as many as the profile, or a trial in the first steps, found best", ge=1
    )
    join_timeout_s: float = option(60.0, "how long the start waits for a rank that gets no further; pods: 1,800", gt=0)
    step_timeout_s: float = option(300.0, "how long a collective may take before its group is formed anew", gt=0)
    stop_grace_s: float = option(10.0, "from asking ranks to leave to ending them", ge=0)
    eval_every: int = option(1, "epochs between evaluations; 0: only at the end", ge=0)
    eval_on_start: bool = option(False, "true: an evaluation before the first step too, of the model as it came")
    early_stop: int = option(
        0, "evaluations in a row without a better score, after which the run is finished; 0: all steps are done", ge=0
    )
    ema: float | None = option(
        None, "decay a step of an average of the weights, such as 0.999, which is evaluated in their place", gt=0, lt=1
    )
    checkpoint_every: int = option(1, "epochs between checkpoints; 0: only at the end", ge=0)
    on_nan: Literal["stop", "go_on"] = option(
        "stop", "when the loss or the weights are not finite: stop ends the run, which has failed then"
    )
    checkpoint_steps: int = option(0, "steps between further checkpoints, step_N.pt; 0: none", ge=0)
    checkpoint_minutes: float = option(0.0, "minutes from a checkpoint to a further one, step_N.pt; 0: none", ge=0)
    keep_checkpoints: int = option(
        3,
        "how many checkpoints of epochs are kept, and how many of steps; besides the best, the last, and those that "
        "were asked for",
        ge=1,
    )
    trace_steps: int = option(0, "record a profiler trace of so many steps on every rank; they take longer", ge=0)

    @property
    def program(self) -> str | None:
        """The script, module or command in place of a task, for people; None for a task."""
        return name_of(script=self.script, module=self.module, command=self.command) or None


@light_dataclass(frozen=True, slots=True, kw_only=True)
class BalanceOptions:
    """`[balance]`: how the global batch is shared out."""

    policy: str = option(
        "dynamic",
        "dynamic: by each rank's fitted cost; proportional: by its last speed; static: fixed shares; or a function of "
        "your own that says them",
        check=policy_name.problem,
        words='"dynamic", "proportional", "static", or a policy of your own such as "mine.py"',
    )
    shares: tuple[int, ...] = option((), "samples per rank in rank order, with static; empty: equal")
    window: int = option(5, "steps between decisions", ge=1)
    min_gain: float = option(0.03, "smallest predicted gain worth a change, as a fraction of the step time", ge=0, lt=1)


@light_dataclass(frozen=True, slots=True, kw_only=True)
class ElasticOptions:
    """`[elastic]`: what happens when hosts come and go."""

    min_hosts: int = option(1, "fewer than this and the run waits", ge=1)
    lost_after_s: float = option(1.5, "a host silent for so long (0.9 s at least) is taken out of the group", gt=0)
    stuck_after_s: float = option(60.0, "a rank that others wait for so long is taken out of the group", gt=0)
    hold_s: float = option(120.0, "how long ranks wait for the leader or missing hosts, or a group to hold", ge=0)
    restarts: int = option(3, "how often a script is started anew after a loss; a task has no need of it", ge=0)


@light_dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """`[data]`: where the training data comes from."""

    path: str | None = option(None, "folder on the hosts that holds the data set's files")
    push: str | None = option(
        None, "folder here, from that of cluster.toml, that every host gets before the start; in place of path"
    )
    download: bool = option(True, "fetch the official archive, checksum verified, when it is not there")
    image_size: int = option(
        64, "of image_folder: pixels of a side, to which its pictures are scaled and cut", ge=8, le=1024
    )
    workers: int | None = option(
        None,
        "processes of each rank that fetch samples of a Dataset ahead; 0: the rank itself does, between steps; by "
        "default up to 4 for a GPU, none for a CPU, which has its cores for training",
        ge=0,
    )


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One rank. Its number is its name for the whole run, its rank in the first generation; joiners get the next."""

    member: int
    host: str
    local_rank: int
    device: str  # "cpu", "cuda:0"
    max_batch: int | None = None
    a_ms: float | None = None  # a step of b samples takes it a + c b by itself, as a profile says
    c_ms: float | None = None
    relative_speed: float | None = None  # a first guess from its name, in any unit that all members share
    threads: int | None = None  # to compute with on a CPU, as a profile says
    pass_limit: int | None = None  # the most samples of one forward and backward pass, as a profile says
    link_mbit: float | None = None  # its host's network to the leader, as a profile says
    link_latency_ms: float | None = None
    speed: float | None = None  # of an emulated host: the fraction of this machine's that it is to have


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the ranks of a host run in: `trainer.supervisor.containers`."""

    runtime: str  # the program: "docker" or "podman"
    image: str  # as people call it
    id: str  # of that image on this host: what comes back runs in the same one, whatever has the name by then
    rootless: bool = False  # docker itself runs as the user, who is root inside
    mounts: tuple[str, ...] = ()  # folders of the user's: `trainer.contract.mount`


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything one host needs to know of a run. Kept as `spec.json` (mode 600) in the run's folder there."""

    run: str
    host: str
    token: str  # 64 hex digits; proves to the coordinator that a rank belongs to the run
    leader: str  # name of the host that runs the coordinator
    leader_address: str  # numeric
    port: int  # of the coordinator
    members: tuple[Member, ...]
    options: RunOptions
    balance: BalanceOptions
    elastic: ElasticOptions
    data: DataOptions
    env: dict[str, str]
    speed: float | None = None  # below 1 a slower host is emulated; `Member.speed` says it to the ranks of a task
    resume: str | None = None  # on the leader: a checkpoint to go on from, or a folder whose newest one it is
    words: tuple[str, ...] = ()  # after `motley run`, to have the same once more: -c FILE, --set KEY=VALUE, --only HOST
    resume_of: str = ""  # the run that has made it; of a file from elsewhere its path where the run was started
    before_s: float = 0.0  # from the command to this spec, on the master's clock
    phases: dict[str, float] = field(default_factory=dict)  # connect_s, push_s, as the master measured them
    emulated: bool = False
    script: Script | None = None  # in place of options.task
    own_task: OwnTask | None = None  # what options.task names, where that is a class with parameters
    own_policy: OwnPolicy | None = None  # what balance.policy names, where that is no policy of ours
    joins: bool = False  # the run goes on already: this host is new in it, and gets its state from the others
    term: Term = FIRST  # of the leader named here
    python: str = ""  # what it runs with, absolute; a host that comes back is started with the same one
    container: Container | None = None  # that its ranks run in
    machines: dict[str, str] = field(default_factory=dict)  # the host that the run was started on, and which machine

    @property
    def local_members(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.host == self.host)

    @property
    def project_tree(self) -> str:
        """The hash of the user's own files that its ranks need, in ~/.motley/code; empty where they need none."""
        trees = (code.tree for code in (self.script, self.own_task, self.own_policy) if code is not None)
        return next(filter(None, trees), "")

    @property
    def resumed_from(self) -> str | None:
        """The run whose checkpoint this one goes on from, or the path of a file."""
        return resumed_from(self.resume, self.resume_of)

    @property
    def is_leader(self) -> bool:
        return self.host == self.leader

    def to_json(self) -> str:
        return json.dumps({"protocol": PROTOCOL, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """Raises ValueError when the text is not a spec of this protocol."""
        table = table_of(text, "spec")
        table["words"] = tuple(table.get("words", ()))
        table["members"] = tuple(Member(**m) for m in table["members"])
        table["options"] = run_options_of(table["options"])
        table["balance"] = BalanceOptions(**{**table["balance"], "shares": tuple(table["balance"]["shares"])})
        table["elastic"] = ElasticOptions(**table["elastic"])
        table["data"] = DataOptions(**table["data"])
        table["term"] = Term.of(table.get("term", FIRST))
        table["script"] = Script.from_table(table["script"]) if table.get("script") else None
        table["own_task"] = own_task_of(table)
        table["own_policy"] = OwnPolicy(**table["own_policy"]) if table.get("own_policy") else None
        table["container"] = container_of(table)
        return cls(**table)


def table_of(text: str | bytes, what: str) -> dict[str, Any]:
    """What stands in it, in JSON, of this protocol. Raises ValueError when it is none of `what`."""
    table = json.loads(text)
    if not isinstance(table, dict) or table.pop("protocol", None) != PROTOCOL:
        raise ValueError(f"not a {what} of protocol {PROTOCOL}")
    return table


def resumed_from(resume: str | None, resume_of: str = "") -> str | None:
    """Of a spec that an older Motley wrote, `resume` alone says it.

    >>> resumed_from("/home/ada/.motley/runs/night/box1/checkpoints")
    'night'
    """
    parts = resume.split("/") if resume else []
    return resume_of or (parts[-3] if len(parts) > 2 else None)


def container_of(table: dict[str, Any]) -> Container | None:
    found = table.get("container")
    return Container(**{**found, "mounts": tuple(found.get("mounts", ()))}) if found else None


def own_task_of(table: dict[str, Any]) -> OwnTask | None:
    return OwnTask(**table["own_task"]) if table.get("own_task") else None


def run_options_of(table: dict[str, Any]) -> RunOptions:
    lists = {"args": (), "command": (), "results": (), **table}
    return RunOptions(**{**lists, **{key: tuple(lists[key]) for key in ("args", "command", "results")}})
