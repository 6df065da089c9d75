"""The table by host, and the shares over time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
    there = {host for step in kept for host in step.hosts()}
    curves = {host: Curve() for host in names if host in there}
    for step in kept:
        parts = step.hosts()
        whole = sum(parts.values())
        for host, curve in curves.items() if whole else ():
            curve.add(step.step, total=parts.get(host, 0) / whole, weight=1.0)
    return tuple(ShareCurve(host=host, points=curve.points()) for host, curve in curves.items())


def hosts_of(summary: dict[str, Any], found: Gathered, half: Sequence[KeptStep], unit: str) -> tuple[HostFigures, ...]:
    """`half`: the kept steps that figures are of."""
    told = summary.get("hosts")
    rows = {one_line(row.get("name")): row for row in (told if isinstance(told, list) else ()) if isinstance(row, dict)}
    took_part: dict[str, int] = {}
    for step in found.kept:
        for host in step.hosts():
            took_part[host] = took_part.get(host, 0) + 1
    names = dict.fromkeys([*rows, *found.devices, *took_part, *found.memory])
    names.pop("", None)
    return tuple(
        _host(name, rows.get(name, {}), found, half, unit, took_part.get(name, 0)) for name in list(names)[:MOST_HOSTS]
    )


def _host(
    name: str, row: dict[str, Any], found: Gathered, half: Sequence[KeptStep], unit: str, steps: int
) -> HostFigures:
    own = [(step, [part for part in step.parts.values() if part[0] == name]) for step in half]
    own = [(step, parts) for step, parts in own if parts]
    samples = sum(part[1] for _, parts in own for part in parts)
    all_samples = sum(step.samples for step in half)
    all_s = sum(step.ms for step in half) / 1000
    compute = median(max(part[2] for part in parts) for _, parts in own) if own else None
    wait = median(min(part[3] for part in parts) for _, parts in own) if own else None
    step_ms = median(step.ms for step, _ in own) if own else None
    devices = found.devices.get(name, {})
    return HostFigures(
        name=name,
        devices=tuple(device for _, device in sorted(devices.items())),
        ranks=len(devices) or int(number(row.get("ranks")) or 0),
        steps=steps,
        share=samples / all_samples if all_samples else None,
        samples_per_s=samples / all_s if all_s else None,
        units_per_s=sum(part[4] for _, parts in own for part in parts) / all_s if unit and all_s else None,
        compute_ms=compute,
        wait_ms=wait,
        wait=min(1.0, wait / step_ms) if wait is not None and step_ms else None,
        mem_mib=found.memory.get(name),
        cpu=found.cpu.get(name),
        state=one_line(row.get("state") or found.ended.get(name, "")),
    )
