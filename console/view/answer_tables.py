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
from motley.remote.launch.trial import Tried


def status_text(data: dict[str, Any]) -> str:
    """A line a run: its name, state, step, and the hosts with the processes that are left there."""
    runs = data.get("runs") or []
    if not runs:
        return "no runs on the hosts that answer" if data.get("unreachable") else "no runs on the hosts"
    width = max(len(str(run.get("run", ""))) for run in runs)
    lines = []
    for run in runs:
        hosts = ", ".join(_host(host) for host in run.get("hosts") or [])
        if run.get("state") in ("queued", "waiting"):  # nobody is at work: what for
            hosts = str(run.get("cause") or "")
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


def tried_text(tried: Tried) -> str:
    """What a device took for the steps it was tried with.

    >>> tried_text(Tried(host="box1", device="cpu", samples=64, steps=2, first_ms=812.0, step_ms=35.2, memory_mib=412))
    '✔ box1 cpu: 2 steps of 64 samples, the first 812 ms, then 35.2 ms; 412 MiB of memory at most'
    """
    where = f"✔ {tried.host} {tried.device}:"
    of_total = f" of {tried.total_mib:,}" if tried.total_mib else ""
    memory = f"{tried.memory_mib:,}{of_total} MiB of memory at most"
    if tried.steps is None:
        how = "ran to its end" if tried.ended else "was ended"
        script = f"{tried.script} {how} after {tried.seconds:.1f} s; without motley.session() no steps are counted."
        return f"{where} {script} {memory} in one process"
    times = f"the first {_ms(tried.first_ms)}, then {_ms(tried.step_ms)}"
    cap = f" (max_batch {tried.max_batch})" if tried.max_batch else ""
    fits = "" if tried.pass_limit else "; they fit at once" if tried.total_mib or tried.max_batch else ""
    line = f"{where} {tried.steps} steps of {tried.samples} samples{cap}, {times}; {memory}{fits}"
    if not tried.fits:
        return line
    return f"{line}\n    {tried.fits}; expected for 1 x {tried.length}: {tried.expected_mib:,} MiB"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms"


def profiles_text(profiles: Sequence[Profile]) -> str:
    """A line a device: how fast it is alone, its line, how much its steps scatter, and its way to the leader."""
    rows = [("host", "device", "samples/s", "step of b samples", "noise", "to the leader", "")]
    for p in profiles:
        most, line = p.timings[-1], p.step_line
        link = f"{p.link.mbit:,.0f} Mbit/s, {p.link.latency_ms:.2f} ms" if p.link else "-"
        notes = [f"{p.max_batch} samples fit"] if p.max_batch else []
        notes += [f"at least {p.fits_at_least} samples fit"] if p.fits_at_least else []
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
