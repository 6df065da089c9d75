"""What a run came to: the figures the coordinator keeps, and the table of `summary.json` made from them.

Rank 0 sends a report every window of steps; this remembers what the summary needs and nothing else. Pure: it is written
by `summary_file` on the host that leads, `remote.experiment.experiment_writer` its copy in `experiments/<run>/`.

>>> ledger.take_report({"steps": [[1, 256, 812.0, 2.3]], "batches": [[64, 64, 64, 64]], "epoch": 0})
>>> ledger.summary("finished", {"box1": "finished"}, now=time.time())["steps"]
1
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from motley.trainer.contract import validate
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.validate import figure, name, whole
from motley.trainer.contract.wire import RunState

LEAST_MS = 1e-6
RECENT = 64  # steps that a host's part of the units goes by


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """Figures of one run. Times in seconds unless the name says otherwise."""

    run: str
    before_s: float  # from the command to the spec's arrival, as the master measured it
    received: float  # when the spec arrived, on the leader's clock
    member_hosts: tuple[str, ...]  # host of each member, by its number
    phases: dict[str, float] = field(default_factory=dict)
    resumed_from: str | None = None  # the run that this one goes on from
    steps_before: int = 0  # of `steps`, those that run had made
    samples_before: int = 0  # of `samples`, the same
    steps: int = 0
    epochs: int = 0
    samples: int = 0
    final_loss: float | None = None
    eval: dict[str, float | None] | None = None
    eval_on_start: dict[str, float | None] | None = None  # of the model as it came
    rebalances: int = 0
    against_equal: dict[str, float] = field(default_factory=dict)  # gain and saved_s, where they are known
    cause: str | None = None  # of a failed run
    reason: str | None = None  # why it was finished before its last step
    regroups: list[dict[str, Any]] = field(default_factory=list)
    step_samples: array[int] = field(default_factory=lambda: array("q"))
    step_ms: array[float] = field(default_factory=lambda: array("d"))
    batches: list[tuple[int, ...]] = field(default_factory=list)  # per step; equal tuples are shared
    unit: str = ""  # what the task counts besides samples: tokens
    step_units: array[int] = field(default_factory=lambda: array("q"))  # of all members; -1 where nobody told
    units: deque[tuple[int, ...]] = field(default_factory=lambda: deque(maxlen=RECENT))  # of each, in the newest steps
    former: Mapping[str, Any] = field(default_factory=dict)  # the table of the coordinator before this one

    @classmethod
    def of(cls, spec: Spec, *, received: float, members: Sequence[Member] | None = None) -> RunSummary:
        """`members`: all that belong to the run, by default those of the spec."""
        hosts = tuple(m.host for m in sorted(members or spec.members, key=lambda m: m.member))
        return cls(
            run=spec.run, before_s=spec.before_s, received=received, member_hosts=hosts, phases=dict(spec.phases),
            resumed_from=spec.resumed_from,
        )  # fmt: skip

    def admit(self, host: str) -> None:
        """A rank of this host may join: it has the next number."""
        self.member_hosts += (host,)

    def take_report(self, report: dict[str, Any]) -> None:
        """Rank 0's word on the steps since its last: `steps` [[step, samples, step_ms, loss]] (loss None: not known for
        the whole batch), `batches` [[samples a member]], and, when they happened, `epoch`, `eval`, `eval_on_start`,
        `rebalances`, `first_step_s`, `gain`, `saved_s`, `unit` and `units` [[units a member], or None] (of what is
        counted besides samples), `reason` (of an early stop), `cause` (of a failure); `before`: the samples of all
        steps before these, as the order of samples has them, so that no sample is missing for a step that nobody could
        tell of; `began` [step, samples]: what had been done when a run that goes on from another one began.

        Raises KeyError, TypeError or ValueError when it is malformed: then nothing of it is kept.
        """
        shared_units = [None if row is None else tuple(map(whole, row)) for row in report.get("units", ())]
        unit = name(report.get("unit", self.unit))
        counted_in = iter([*shared_units, *[None] * len(report["steps"])])
        told = [
            (
                whole(step), whole(samples), _time(step_ms), loss if loss is None else validate.loss(loss), batches,
                next(counted_in),
            )
            for (step, samples, step_ms, loss), batches in zip(report["steps"], _rows(report["batches"]))
        ]  # fmt: skip
        known = sum(samples for step, samples, *_ in told if step <= self.steps)
        before, epochs = whole(report.get("before", self.samples - known)), whole(report.get("epoch", self.epochs))
        rebalances = whole(report.get("rebalances", self.rebalances))
        evaluated, on_start = (_evaluated(report.get(key, {})) for key in ("eval", "eval_on_start"))
        against_equal: dict[str, float] = {key: figure(report[key]) for key in ("gain", "saved_s") if key in report}
        first_step = {"first_step_s": figure(report["first_step_s"])} if "first_step_s" in report else {}
        reason = name(report["reason"]) if "reason" in report else self.reason
        cause = name(report["cause"]) if "cause" in report else None
        began = tuple(map(whole, report.get("began", (self.steps_before, self.samples_before))))
        if len(began) != 2:
            raise ValueError(f"a beginning that is {began}")
        self.steps_before, self.samples_before = began
        counted = before
        for step, samples, step_ms, loss, shared, units in told:
            counted += samples
            if step <= self.steps:  # told before, by a rank 0 that was lost since
                continue
            self.steps = step
            self.samples = counted
            self.final_loss = self.final_loss if loss is None else _finite(loss)
            self.step_samples.append(samples)
            self.step_ms.append(step_ms)
            self.batches.append(self.batches[-1] if self.batches and self.batches[-1] == shared else shared)
            self.step_units.append(-1 if units is None else sum(units))
            if units is not None:
                self.units.append(units)
        self.epochs, self.rebalances, self.reason, self.unit = epochs, rebalances, reason, unit
        self.cause = self.cause or cause
        if evaluated:
            self.eval = evaluated
        self.eval_on_start = on_start or self.eval_on_start
        self.phases.update(first_step)
        self.against_equal.update(against_equal)

    def go_on_from(self, table: Mapping[str, Any]) -> None:
        """With what a former coordinator has written of the same run (`summary`). Steps that it knew and that are told
        again are not counted twice. Raises KeyError, TypeError or ValueError when it is malformed: then nothing of it
        is kept."""
        steps, epochs, samples, rebalances = (whole(table[key]) for key in ("steps", "epochs", "samples", "rebalances"))
        before = whole(table.get("steps_before", 0))
        loss = None if table["final_loss"] is None else figure(table["final_loss"])
        evaluated, on_start = (
            {k: None if v is None else figure(v) for k, v in validate.table(table.get(key) or {}).items()}
            for key in ("eval", "eval_on_start")
        )
        phases = {what: figure(seconds) for what, seconds in validate.table(table["phases"]).items()}
        against_equal = {key: figure(table[key]) for key in ("gain", "saved_s") if key in table}
        rates = {name(host["name"]): (figure(host["share"]), figure(host["samples_per_s"])) for host in table["hosts"]}
        former = {"samples_per_s": figure(table["samples_per_s"]), "hosts": rates}
        self.steps, self.epochs, self.samples, self.rebalances = steps, epochs, samples, rebalances
        self.steps_before, self.final_loss, self.against_equal, self.former = before, loss, against_equal, former
        self.eval, self.eval_on_start = evaluated or None, on_start or None
        self.phases = {**phases, **self.phases}

    def samples_per_s(self) -> float:
        """Median over the last half of the steps of global samples by wall time between step ends."""
        half = len(self.step_ms) // 2
        rates = [n / ms * 1000 for n, ms in zip(self.step_samples[half:], self.step_ms[half:]) if ms > 0]
        return median(rates) if rates else float(self.former.get("samples_per_s", 0.0))

    def units_per_s(self) -> float | None:
        """As `samples_per_s`, of the steps of which the units are known; None where there are none."""
        half = len(self.step_ms) // 2
        rates = [n / ms * 1000 for n, ms in zip(self.step_units[half:], self.step_ms[half:]) if ms > 0 and n >= 0]
        return median(rates) if rates else None

    def host_units(self) -> dict[str, float]:
        """Each host's part of `units_per_s`, as it had it of the units of the newest steps."""
        rate, parts = self.units_per_s() or 0.0, dict.fromkeys(self.member_hosts, 0)
        for step in self.units:
            for host, units in zip(self.member_hosts, step):
                parts[host] += units
        return {host: rate * part / max(1, sum(parts.values())) for host, part in parts.items()}

    def host_rates(self) -> dict[str, tuple[float, float]]:
        """(share 0 to 1, samples/s) of each host: the last full split, and its part of the median rate over the last
        half of the steps."""
        if not self.step_ms and self.former:
            return {host: self.former["hosts"].get(host, (0.0, 0.0)) for host in self.member_hosts}
        half = len(self.step_ms) // 2
        rates = dict.fromkeys(self.member_hosts, 0.0)
        members = [
            [
                (batch[m] if m < len(batch) else 0) / ms * 1000
                for batch, ms in zip(self.batches[half:], self.step_ms[half:])
                if ms > 0
            ]
            for m in range(len(self.member_hosts))
        ]
        for host, values in zip(self.member_hosts, members):
            rates[host] += median(values) if values else 0.0
        last = max(reversed(self.batches[-10:]), key=sum, default=(0,) * len(self.member_hosts))
        shares = dict.fromkeys(self.member_hosts, 0.0)
        for host, batch in zip(self.member_hosts, last):
            shares[host] += batch / max(1, sum(last))
        return {host: (shares[host], rates[host]) for host in rates}

    def summary(self, state: RunState, host_states: dict[str, str], *, now: float) -> dict[str, Any]:
        """The object of `summary.json`; `now` is the leader's clock."""
        rates, units_per_s = self.host_rates(), self.units_per_s() if self.unit else None
        in_units = {} if units_per_s is None else self.host_units()
        key = f"{self.unit}_per_s"
        table: dict[str, Any] = {
            "run": self.run,
            "state": state,
            "steps": self.steps,
            "epochs": self.epochs,
            "samples": max(0, self.samples - self.samples_before),
            "seconds": round(self.before_s + now - self.received, 3),
            "samples_per_s": round(self.samples_per_s(), 2),
            **({} if units_per_s is None else {key: round(units_per_s, 2)}),
            "final_loss": self.final_loss,
            "eval": self.eval,
            **({"eval_on_start": self.eval_on_start} if self.eval_on_start else {}),
            "hosts": [
                {
                    "name": host,
                    "ranks": self.member_hosts.count(host),
                    "share": round(rates[host][0], 4),
                    "samples_per_s": round(rates[host][1], 2),
                    **({key: round(in_units[host], 2)} if in_units else {}),
                    "state": host_states.get(host, "lost"),
                }
                for host in dict.fromkeys(self.member_hosts)
            ],
            "rebalances": self.rebalances,
            **{key: round(value, 3) for key, value in self.against_equal.items()},
            "regroups": self.regroups,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
        }
        if self.resumed_from is not None:
            table |= {"resumed_from": self.resumed_from, "steps_before": self.steps_before}
        if self.cause is not None and state == "failed":
            table["cause"] = self.cause
        if self.reason is not None and state == "finished":
            table["reason"] = self.reason
        return table


def _rows(batches: Any) -> list[tuple[int, ...]]:
    return [tuple(map(whole, row)) for row in batches]


def _evaluated(told: Any) -> dict[str, float | None]:
    return {name(what): _finite(validate.loss(value)) for what, value in validate.table(told).items()}


def _finite(value: float) -> float | None:
    """None for not-a-number, which JSON does not have: a run that has diverged."""
    return value if math.isfinite(value) else None


def _time(step_ms: Any) -> float:
    """Of a step; 0 for one that is too short to divide by."""
    return ms if (ms := figure(step_ms)) >= LEAST_MS else 0.0
