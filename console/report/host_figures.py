"""The table by host, and the shares over time. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from motley.console.report.gathered import Gathered
from motley.console.report.kept_steps import KeptStep
from motley.console.report.report import HostFigures, ShareCurve
from motley.console.state.curve import Curve
from motley.console.state.event_data import number, one_line

MOST_HOSTS = 200


def shares_of(kept: Sequence[KeptStep], names: Sequence[str]) -> tuple[ShareCurve, ...]:
    """Of every host that ever took part, its part of each step, 0 while it is away; in the order of `names`."""
    there: set[str] = set()
    curves = {host: Curve() for host in names}
    before: dict[str, int] = {}  # most steps are shared out as the one before was
    shares: list[tuple[Curve, float]] = []
    for step in kept:
        parts = step.hosts()
        if parts != before:
            before = parts
            there.update(parts)
            whole = sum(parts.values())
            shares = [(curve, parts.get(host, 0) / whole) for host, curve in curves.items()] if whole else []
        for curve, share in shares:
            curve.add(step.step, total=share, weight=1.0)
    return tuple(ShareCurve(host=host, points=curve.points()) for host, curve in curves.items() if host in there)


def hosts_of(summary: dict[str, Any], found: Gathered, half: Sequence[KeptStep], unit: str) -> tuple[HostFigures, ...]:
    """`half`: the kept steps that figures are of."""
    told = summary.get("hosts")
    rows = {one_line(row.get("name")): row for row in (told if isinstance(told, list) else ()) if isinstance(row, dict)}
    took_part = Counter(host for step in found.kept for host in dict.fromkeys(part[0] for part in step.parts.values()))
    names = dict.fromkeys([*rows, *found.devices, *took_part, *found.memory])
    names.pop("", None)
    own = _own(half)
    whole = sum(step.samples for step in half), sum(step.ms for step in half) / 1000
    return tuple(
        _host(name, rows.get(name, {}), found, whole, own.get(name, _Own()), unit, took_part[name])
        for name in list(names)[:MOST_HOSTS]
    )


@dataclass(slots=True)
class _Own:
    """Of one host: of each step that it took part in."""

    newest: int = 0
    samples: int = 0
    units: int = 0
    compute_ms: list[float] = field(default_factory=list)  # of its slowest rank
    wait_ms: list[float] = field(default_factory=list)  # of the rank that waited least
    step_ms: list[float] = field(default_factory=list)


def _own(steps: Sequence[KeptStep]) -> dict[str, _Own]:
    found: defaultdict[str, _Own] = defaultdict(_Own)
    for step in steps:
        for host, batch, compute_ms, wait_ms, units in step.parts.values():
            one = found[host]
            one.samples += batch
            one.units += units
            if one.newest != step.step:
                one.newest = step.step
                one.compute_ms.append(compute_ms)
                one.wait_ms.append(wait_ms)
                one.step_ms.append(step.ms)
            else:
                one.compute_ms[-1] = max(one.compute_ms[-1], compute_ms)
                one.wait_ms[-1] = min(one.wait_ms[-1], wait_ms)
    return found


def _host(
    name: str, row: dict[str, Any], found: Gathered, whole: tuple[int, float], own: _Own, unit: str, steps: int
) -> HostFigures:
    """`whole`: samples of all hosts, and seconds."""
    all_samples, all_s = whole
    compute = median(own.compute_ms) if own.compute_ms else None
    wait = median(own.wait_ms) if own.wait_ms else None
    step_ms = median(own.step_ms) if own.step_ms else None
    devices = found.devices.get(name, {})
    return HostFigures(
        name=name,
        devices=tuple(device for _, device in sorted(devices.items())),
        ranks=len(devices) or int(number(row.get("ranks")) or 0),
        steps=steps,
        share=own.samples / all_samples if all_samples else None,
        samples_per_s=own.samples / all_s if all_s else None,
        units_per_s=own.units / all_s if unit and all_s else None,
        compute_ms=compute,
        wait_ms=wait,
        wait=min(1.0, wait / step_ms) if wait is not None and step_ms else None,
        mem_mib=found.memory.get(name),
        cpu=found.cpu.get(name),
        state=one_line(row.get("state") or found.ended.get(name, "")),
    )
