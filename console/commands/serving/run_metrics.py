"""A snapshot of a run as metrics: names, units and labels as Prometheus wants them. Pure; no library is needed.

>>> [metric.name for metric in run_metrics(snapshot)][:3]
['motley_run', 'motley_run_state', 'motley_step']

Units are base units: seconds, bytes, ratios of 0 to 1. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from motley.console.state.snapshot import RankView, Snapshot
from motley.trainer.contract.wire import END_STATES

STATES = ("idle", "starting", "running", "stopping", *END_STATES)

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """`samples`: labels and value. An "info" has all it says in its labels; of a "state" the label is the state."""

    name: str
    help: str
    kind: Literal["gauge", "counter", "info", "state"]
    samples: tuple[tuple[Labels, float], ...]


def run_metrics(snapshot: Snapshot) -> list[Metric]:
    found = [*_of_run(snapshot), *_of_hosts(snapshot)]
    return [metric for metric in found if metric.samples]


def _of_run(snapshot: Snapshot) -> Iterator[Metric]:
    said = (("run", snapshot.run), ("task", snapshot.task), ("policy", snapshot.policy), ("leader", snapshot.leader))
    yield Metric("motley_run", "The run that is followed.", "info", ((said, 1.0),))
    state = snapshot.state or snapshot.phase
    states = tuple(((("motley_run_state", name),), float(name == state)) for name in STATES)
    yield Metric("motley_run_state", "What the run is doing, or how it has ended.", "state", states)
    read = snapshot.read
    yield _gauge("motley_step", "Newest step that was completed.", read.step if read else snapshot.step)
    total = read.steps_total if read else snapshot.steps_total
    yield _gauge("motley_steps_planned", "Steps that the run is to make.", total)
    yield _gauge("motley_epoch", "Newest epoch, from 0.", read.epoch if read else snapshot.epoch)
    yield _gauge("motley_loss", "Mean loss of the newest step.", read.loss if read else snapshot.loss)
    yield _gauge("motley_accuracy_ratio", "Accuracy of the newest evaluation.", snapshot.accuracy)
    held_out = snapshot.held_out
    yield _gauge("motley_held_out_loss", "Loss of the newest evaluation.", held_out.loss if held_out else None)
    yield _gauge("motley_samples_per_second", "Throughput of all ranks together.", snapshot.samples_per_s)
    counted = (((("unit", snapshot.unit),), snapshot.units_per_s),) if snapshot.unit else ()
    yield _gauges("motley_units_per_second", "Throughput in what the task counts besides samples.", counted)
    step_s = None if snapshot.step_ms is None else snapshot.step_ms / 1000
    yield _gauge("motley_step_seconds", "Time of the newest step.", step_s)
    yield _gauge("motley_remaining_seconds", "Expected time to the end of the run.", snapshot.eta_s)
    gain = "How much longer a step would take with equal shares: a ratio."
    yield _gauge("motley_balance_gain_ratio", gain, snapshot.gain)
    yield _counter("motley_rebalances", "Changes of the shares.", len(snapshot.decisions))
    yield _counter("motley_regroups", "Changes of the group: hosts lost, back or new.", len(snapshot.regroups))
    yield _counter("motley_restarts", "Times that a script was started again.", snapshot.restarts)


def _of_hosts(snapshot: Snapshot) -> Iterator[Metric]:
    up = [((("host", host.name),), float(host.link_up)) for host in snapshot.hosts]
    yield _gauges("motley_host_connected", "Whether the host's connection to this machine is up.", up)
    ranks: dict[str, list[RankView]] = {}
    for rank in snapshot.ranks:
        ranks.setdefault(rank.host, [])
        if rank.active:
            ranks[rank.host].append(rank)

    def by_host(name: str, told: str, value: Callable[[list[RankView]], float | None]) -> Metric:
        return _gauges(name, told, [((("host", host),), value(own)) for host, own in ranks.items()])

    yield by_host("motley_host_ranks", "Ranks of the host in the group.", len)
    yield by_host(
        "motley_host_share_ratio", "Its part of the samples of a step.", lambda own: _sum(r.share for r in own)
    )
    waited = "Part of a step that it waited for others, of its slowest rank."
    yield by_host("motley_host_wait_ratio", waited, lambda own: _least(r.wait for r in own))
    throughput = "Its part of the throughput."
    yield by_host("motley_host_samples_per_second", throughput, lambda own: _sum(r.samples_per_s for r in own))
    computed = "Time to the last gradient, of its slowest rank."
    yield by_host("motley_host_compute_seconds", computed, lambda own: _per(1000, _most(r.compute_ms for r in own)))
    memory = "Memory of its fullest rank."
    yield by_host("motley_host_memory_bytes", memory, lambda own: _per(1 / 2**20, _most(r.mem_mib for r in own)))
    used = "Mean use of its GPUs."
    yield by_host("motley_host_gpu_utilization_ratio", used, lambda own: _per(100, _mean(r.gpu_util for r in own)))
    cores = "Use of its cores by a script."
    yield by_host("motley_host_cpu_utilization_ratio", cores, lambda own: _per(100, _most(r.cpu for r in own)))


def _gauge(name: str, told: str, value: float | None) -> Metric:
    return _gauges(name, told, [((), value)])


def _gauges(name: str, told: str, values: Iterable[tuple[Labels, float | None]]) -> Metric:
    known = tuple((labels, float(value)) for labels, value in values if value is not None)
    return Metric(name, told, "gauge", known)


def _counter(name: str, told: str, value: int) -> Metric:
    return Metric(name, told, "counter", (((), float(value)),))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _sum(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max(_known(values), default=None)


def _least(values: Iterable[float | None]) -> float | None:
    return min(_known(values), default=None)


def _per(whole: float, value: float | None) -> float | None:
    return None if value is None else value / whole
