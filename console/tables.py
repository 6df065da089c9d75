"""The answers of `motley status` and `motley check` for people; `--json` prints the data itself. Pure functions.

print(status_text({"runs": [{"run": "home-1", "state": "running", "step": 12, "hosts": []}]}))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.line import fit
from remote.errors import Finding


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
            f"step {'-' if step is None else step}  {hosts}".rstrip()
        )
    return "\n".join(lines)


def findings_text(findings: Sequence[Finding], *, hosts: int) -> str:
    """Errors first, each with its remedy below; one line when all is well."""
    errors = [f for f in findings if f.level == "error"]
    warnings = [f for f in findings if f.level != "error"]
    lines = []
    for sign, group in (("✖", errors), ("!", warnings)):
        for finding in group:
            lines += [f"{sign} {finding.host}: {finding.cause}", f"    {finding.remedy}"]
    if not errors:
        lines.append(f"✔ {hosts} host{'' if hosts == 1 else 's'} ready")
    return "\n".join(lines)


def _host(host: dict[str, Any]) -> str:
    left = host.get("left")
    count = f" ({left} process{'' if left == 1 else 'es'})" if left else ""
    return f"{host.get('name', '?')} {host.get('state', '?')}{count}"
