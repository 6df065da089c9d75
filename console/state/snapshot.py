"""What the console knows of a run at one moment, frozen: made by `store.Store`, read by the pure functions of the view.

snapshot = store.snapshot()
lines = rows.rank_lines(snapshot, width=80, now=time.time())
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from motley.remote.diagnosis.tracebacks import Words
from motley.trainer.contract.wire import Level

UNIT = 12  # characters of the name of what a task counts
RunPhase = Literal["idle", "starting", "running", "stopping", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankView:
    """One rank, with its part of the step that is shown; without one its figures are None. Times are the master's."""

    member: int
    host: str
    device: str
    active: bool = True  # in the newest group
    phase: str = ""  # the newest `wire.Phase`, or "failed"
    partial_line: str = ""  # what it is writing: a progress bar
    silent: bool = False  # its lines do not come, though its host is connected
    step: int | None = None  # the same for all ranks that have figures
    batch: int | None = None
    share: float | None = None  # of the step's samples, 0 to 1
    samples_per_s: float | None = None  # its part of the cluster's
    units_per_s: float | None = None  # of what the task counts besides samples, the same
    compute_ms: float | None = None
    wait_ms: float | None = None
    step_ms: float | None = None  # the cluster's
    cpu: float | None = None  # percent of the host's cores, of a script's processes
    mem_mib: float | None = None
    gpu_util: float | None = None
    seen: float | None = None  # when its newest line was written
    trend: tuple[float, ...] = ()  # samples/s, or units/s, oldest first

    @property
    def wait(self) -> float | None:
        """The part of the step it waited for the others, 0 to 1."""
        if self.wait_ms is None or not self.step_ms:
            return None
        return min(1.0, self.wait_ms / self.step_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """One host: its newest stage and the state of the connection to it."""

    name: str
    emulated: bool = False
    speed: float | None = None
    stage: str = ""
    text: str = ""
    fraction: float | None = None
    failed: bool = False
    link_up: bool = True
    link_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One change of the split; `names` are the ranks in order, as the group had them."""

    step: int
    names: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    current_ms: float | None
    predicted_ms: float | None
    realised_ms: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Ranks that others wait for: (host, phase), and since when on the master's clock."""

    missing: tuple[tuple[str, str], ...]
    since: float
    text: str = ""  # what a run that went on without some of its hosts waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class Regroup:
    """The group changed after `step` completed steps: hosts went, or came (back)."""

    step: int
    lost: tuple[str, ...]
    joined: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, where, and what to do next."""

    host: str
    cause: str
    remedy: str
    level: Literal["error", "warning"] = "error"
    words: Words = field(default_factory=Words)  # of a rank that failed: its last calls
    others: tuple[str, ...] = ()  # a line each: who failed with it
    more: str = ""  # the command that shows all of it, where the remedy does not


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    time: float
    label: str  # "desktop 0" of a rank, "laptop" of a host
    text: str
    level: Level = "info"
    at_latest: bool = False  # it may be of long before `time`
    fold: str = ""  # of the lines of this name the newest says it all


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFigures:
    """The newest figures that were read from what a rank of a script prints; a step is what the script counts."""

    member: int
    host: str
    step: int
    steps_total: int | None
    epoch: float | None
    loss: float | None
    steps_per_s: float | None
    at: float  # when they were printed, on the master's clock
    unit: str = "step"  # what is counted: "step" or "epoch"

    @property
    def eta_s(self) -> float | None:
        if not self.steps_total or not self.steps_per_s:
            return None
        return max(0, self.steps_total - self.step) / self.steps_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What an evaluation said besides the accuracy: the mean loss, and what follows from it (perplexity)."""

    loss: float
    follows: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Prompts, and what the model said to them after an evaluation; each may have several lines."""

    step: int
    epoch: int  # so many were done
    pairs: tuple[tuple[str, str], ...]
    held_out: HeldOut | None = None  # of that evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """Where a replay is, by the run's own clock: seconds since 1970."""

    at: float
    first: float
    last: float  # the newest moment that is here
    speed: float  # so many seconds of the run in one
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    phase: RunPhase = "idle"
    state: str = ""  # the end state, once ended
    run: str = ""
    task: str = ""
    policy: str = ""
    first_shares: str = ""  # what the shares of the first step come from, in words
    restart: str = ""  # of a run that followed another one: whether torch had to be imported again, and why
    script: bool = False  # `task` is the user's own script, which tells us nothing
    has_results: bool = False  # of a script: some of what it writes is here
    read: ReadFigures | None = None  # of a script: what its output says
    global_batch: int | None = None
    leader: str = ""
    attached: bool = False
    readonly: bool = False  # this console only watches
    playback: Playback | None = None  # of a replay
    behind: bool = False  # catching up with what the run did before it was found
    step: int = 0
    steps_total: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    best_accuracy: float | None = None
    held_out: HeldOut | None = None  # of the newest evaluation
    held_out_on_start: HeldOut | None = None  # of the one before the first step, where there was one
    answers: tuple[Answers, ...] = ()  # the newest first
    samples_per_s: float | None = None
    unit: str = ""  # what the task counts besides samples: "tokens"
    units_per_s: float | None = None
    step_ms: float | None = None
    pace_ms: float | None = None  # of a step, over so many of them that it does not jump
    gain: float | None = None  # with equal shares a step would take so many times as long, by the fits
    saved_s: float | None = None  # against equal shares, since the run began
    started: float | None = None
    ended: float | None = None
    ranks: tuple[RankView, ...] = ()
    hosts: tuple[HostView, ...] = ()
    decisions: tuple[Decision, ...] = ()
    regroups: tuple[Regroup, ...] = ()
    restarts: int = 0  # of a script
    waiting: Waiting | None = None
    advice: str = ""  # while a host holds the run up
    offered: tuple[str, ...] = ()  # hosts that are new in cluster.toml
    problems: tuple[Problem, ...] = ()
    throughput: tuple[tuple[float, float], ...] = ()  # (step, samples/s or units/s); of a script (step, steps/s)
    losses: tuple[tuple[float, float], ...] = ()  # (step, loss)
    log_total: int = 0  # lines ever; the store holds the newest of them
    summary: dict[str, Any] = field(default_factory=dict)
    unanswered: tuple[str, ...] = ()

    @property
    def counted(self) -> str:
        """What throughput is told in: what the task counts besides samples, else these."""
        return self.unit[:UNIT] or "samples"

    @property
    def rate(self) -> float | None:
        """Of `counted`, a second."""
        return self.units_per_s if self.unit else self.samples_per_s

    @property
    def eta_s(self) -> float | None:
        if self.phase != "running" or not self.steps_total or not self.pace_ms:
            return None
        return max(0, self.steps_total - self.step) * self.pace_ms / 1000

    @property
    def live(self) -> bool:
        return self.phase in ("starting", "running", "stopping")
