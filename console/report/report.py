"""What a run came to, as plain data: made by `read_report`, drawn by `text_view` and `page_view`, printed by `--json`.

A figure that is not known is None, and `Report.notes` says what lacks. Nothing here knows of a screen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from motley.console.state.snapshot import Decision

Points = tuple[tuple[float, float], ...]  # (step, value), in order of the steps


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFigures:
    """One host. `share`: of the samples, 0 to 1, mean over the last half of the steps kept; `samples_per_s` its part of
    the run's throughput there; `compute_ms` and `wait_ms` of its slowest rank, medians there; `wait`: the part of a
    step it waited for others, 0 to 1; `mem_mib` and `cpu` (percent) the highest of all."""

    name: str
    devices: tuple[str, ...] = ()
    ranks: int = 0
    steps: int = 0  # kept ones that it took part in
    share: float | None = None
    samples_per_s: float | None = None
    units_per_s: float | None = None
    compute_ms: float | None = None
    wait_ms: float | None = None
    wait: float | None = None
    mem_mib: float | None = None
    cpu: float | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCurve:
    host: str
    points: Points  # (step, part of the step's samples, 0 to 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Of held-out samples. `loss` is the mean; `follows` what follows from it: perplexity = exp(loss)."""

    step: int
    epoch: float | None
    seconds: float  # since the run's first record
    accuracy: float | None  # 0 to 1
    loss: float | None
    follows: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Regrouped:
    """A host that went or came. Steps that were lost: `step_before` - `step_after`."""

    cause: str
    host: str
    step_before: int | None
    step_after: int | None
    pause_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancing:
    """What unequal shares have brought against equal ones.

    By the fits: rank 0 fits t_i(b) = a_i + c_i b to what each rank took for b samples, so that a step takes
    max_i t_i(b_i) + the rest (all-reduce and update). `gain` = that with equal shares / that with the shares in use, of
    the newest window; `saved_s` = the sum over all windows of their steps times the difference, in seconds.

    Measured: where the first shares were equal and were changed, `equal_ms` is the median step before the first change
    (the very first step left out), `later_ms` the median of the last half of the steps after it; the shares of the
    machines in use may have changed as well, so the two need not agree. `how` says which of them is known, and if
    neither is, why.
    """

    gain: float | None = None
    saved_s: float | None = None
    equal_ms: float | None = None
    later_ms: float | None = None
    how: str = ""

    @property
    def measured_gain(self) -> float | None:
        return self.equal_ms / self.later_ms if self.equal_ms and self.later_ms else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Where the time went, in seconds. `part` = `kept_s` / `all_s`, 0 to 1.

    `all_s`: of the summary, from the command to the end; without one from the first record to the last. `kept_s`: the
    times of the steps that the result stands on, each once. `again_s`: steps whose result was given up, because the
    run went back and made them again. `before_s`: until the first step began. The pauses are from the last step's end
    to the first one's after a regroup. `rest_s` is what is left: waiting for hosts, the end, what was not told.
    """

    all_s: float | None = None
    kept_s: float | None = None
    again_s: float = 0.0
    evaluations_s: float = 0.0
    checkpoints_s: float = 0.0
    pauses_s: float = 0.0
    before_s: float | None = None
    rest_s: float | None = None
    again_steps: int = 0

    @property
    def part(self) -> float | None:
        return self.kept_s / self.all_s if self.kept_s is not None and self.all_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something that went wrong, or what was done about it. `seconds` since the run's first record."""

    seconds: float
    host: str
    text: str
    level: str
    times: int = 1  # that it was said, one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Times in seconds unless the name says otherwise; steps count from 1, over all the runs that it goes on from.

    `samples_per_s`: the median over the last half of the kept steps of their samples by their time, evaluations and
    checkpoints left out; `units_per_s` the same of what the task counts besides samples (`unit`: tokens).
    Curves have at most `console.state.curve.LIMIT` points: means over the steps between.
    """

    run: str
    folder: str
    state: str = ""  # finished, stopped, failed, lost; running; or empty: not known
    going_on: bool = False  # nothing says that it has ended
    task: str = ""  # or the script
    script: bool = False  # that tells no figures of its own: what there is was read from its output
    policy: str = ""
    started: float | None = None  # seconds since 1970, by the first record
    seconds: float | None = None
    resumed_from: str = ""
    steps: int = 0
    steps_total: int | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None
    samples: int | None = None
    global_batch: int | None = None
    unit: str = ""
    samples_per_s: float | None = None
    units_per_s: float | None = None
    step_ms: float | None = None  # median over the last half of the kept steps
    steps_per_s: float | None = None  # of a script, as it printed
    final_loss: float | None = None
    throughput: Points = ()  # samples/s, units/s where there is a unit, steps/s of a script
    losses: Points = ()
    shares: tuple[ShareCurve, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    decisions: tuple[Decision, ...] = ()
    regroups: tuple[Regrouped, ...] = ()
    hosts: tuple[HostFigures, ...] = ()
    balancing: Balancing = field(default_factory=Balancing)
    goodput: Goodput = field(default_factory=Goodput)
    cause: str = ""  # of a failure, and what mends it
    failed_with: tuple[str, ...] = ()  # a line each
    happened: tuple[Happened, ...] = ()  # the newest `read_report.MOST_HAPPENED`
    happened_before: int = 0  # that many more came before
    when: Points = ()  # (step, seconds since the first record at which it ended)
    settings: dict[str, object] = field(default_factory=dict)  # run.epochs: 60
    notes: tuple[str, ...] = ()  # what could not be read, or is not known

    @property
    def counted(self) -> str:
        """What throughput is told in."""
        return "steps" if self.script else self.unit or "samples"

    @property
    def rate(self) -> float | None:
        """Of `counted`, a second."""
        return self.steps_per_s if self.script else self.units_per_s if self.unit else self.samples_per_s
