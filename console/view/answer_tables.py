"""The answers of `motley status` and `motley check` for people; `--json` prints the data itself. Pure functions.

print(status_text({"runs": [{"run": "home-1", "state": "running", "step": 12, "hosts": []}]}))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from motley.console.view.styled_line import fit
from motley.profiles.store import Profile
from motley.profiles.thread_counts import words
from motley.remote.errors import Finding, together


def status_text(data: dict[str, Any]) -> str:
    """A line a run: its name, state, step, and the hosts with the processes that are left there."""
    runs = data.get("runs") or []
    if not runs:
        return "no runs on the hosts that answer" if data.get("unreachable") else "no runs on the hosts"
    width = max(len(str(run.get("run", ""))) for run in runs)
    lines = []
    for run in runs:
        hosts = ", ".join(_host(host) for host in run.get("hosts") or [])
        step = run.get("step")
        lines.append(
            f"{fit(str(run.get('run', '')), width)}  {fit(str(run.get('state', '')), 8)}  "
            f"step {'-' if step is None else step}  {hosts}{_since(run)}".rstrip()
        )
    return "\n".join(lines)


def findings_text(findings: Sequence[Finding], *, hosts: int) -> str:
    """Errors first, each with its remedy below; one line when all is well."""
    errors = [f for f in findings if f.level == "error"]
    warnings = [f for f in findings if f.level != "error"]
    lines = []
    for sign, group in (("✖", errors), ("!", warnings)):
        for names, cause, remedy in together(group):
            lines += [f"{sign} {names}: {cause}", f"    {remedy}"]
    if not errors:
        lines.append(f"✔ {hosts} host{'' if hosts == 1 else 's'} ready")
    return "\n".join(lines)


def profiles_text(profiles: Sequence[Profile]) -> str:
    """A line a device: how fast it is alone, its line, how much its steps scatter, and its way to the leader."""
    rows = [("host", "device", "samples/s", "step of b samples", "noise", "to the leader", "")]
    for p in profiles:
        most, line = p.timings[-1], p.step_line
        link = f"{p.link.mbit:,.0f} Mbit/s, {p.link.latency_ms:.2f} ms" if p.link else "-"
        notes = [f"{p.max_batch} samples fit"] if p.max_batch else []
        notes += [f"{p.threads} thread{'s' * (p.threads != 1)}"] if p.threads else []
        rows.append(
            (
                p.host,
                f"{p.device}  {fit(p.device_name, 22)}",
                f"{most.batch / most.step_ms * 1000:,.0f} at {most.batch}",
                f"{line.a:.1f} + {line.c:.3g} b ms",
                f"{p.noise:.0%}",
                link,
                ", ".join(notes),
            )
        )
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(fit(c, w) for c, w in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*table, *_threads_tried(profiles)])


def _threads_tried(profiles: Sequence[Profile]) -> list[str]:
    """What the number of threads was chosen by, in the words of the event of a run that tries itself."""
    tried = [(p, {t.threads: t.samples_per_s for t in p.thread_rates}) for p in profiles]
    lines = [f"· {words(p.host, found, p.threads)}" for p, found in tried if p.threads in found and len(found) > 1]
    return ["", *lines] if lines else []


def _since(run: dict[str, Any]) -> str:
    return f"  goes on from '{run['resumed_from']}'" if run.get("resumed_from") else ""


def _host(host: dict[str, Any]) -> str:
    left = host.get("left")
    count = f" ({left} process{'' if left == 1 else 'es'})" if left else ""
    return f"{host.get('name', '?')} {host.get('state', '?')}{count}"
