"""An error that a user can meet, as the screen shows it: by host, each with its cause and remedy. Pure.

>>> problems_of(RunFailed("box1: the supervisor ended at once"))
[Problem(host='', cause='box1: the supervisor ended at once', remedy='', …)]
"""

from __future__ import annotations

from motley.console.state.snapshot import Problem
from motley.remote.errors import CheckFailed, ConfigError, HostError, MotleyError


def problems_of(error: MotleyError, *, again: str = "s starts") -> list[Problem]:
    """`again`: what the user does once a mistake in cluster.toml is mended."""
    if isinstance(error, CheckFailed):
        return [Problem(host=f.host, cause=f.cause, remedy=f.remedy, level=f.level) for f in error.findings]
    if isinstance(error, HostError):
        return [Problem(host=error.host, cause=error.cause, remedy=error.remedy)]
    if isinstance(error, ConfigError):
        remedy = f"Mend it, then {again}."
        return [Problem(host=error.path, cause=p, remedy=remedy) for p in error.problems]
    return [Problem(host="", cause=str(error), remedy="")]
