"""What a login on a host may do: limits, and whether its processes outlive it. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import os
import pwd
import re
from typing import Any

from motley.trainer.bootstrap.files import names, text

_BOOTED, _LINGERING = "/run/systemd/system", "/var/lib/systemd/linger"
_PLACES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")  # the first one counts
_SETTING = re.compile(r"^(KillUserProcesses|KillOnlyUsers|KillExcludeUsers)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_COMPILED = re.compile(r"^#[ \t]*(KillUserProcesses)[ \t]*=[ \t]*(\S+)", re.MULTILINE)  # its own file shows the default


def login() -> dict[str, Any]:
    """`user`, `ends_with_login`, `open_files` and `processes_left` (None: no limit)."""
    user = user_name()
    return {
        "user": user,
        "ends_with_login": ends_with_login(user),
        "open_files": _limit("RLIMIT_NOFILE"),
        "processes_left": _processes_left(),
    }


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user has no name
        return str(os.getuid())


def ends_with_login(user: str) -> bool:
    """Whether systemd-logind ends what is left of a user when their last login ends (logind.conf)."""
    if not os.path.isdir(_BOOTED) or os.path.exists(os.path.join(_LINGERING, user)):
        return False
    settings = {"KillUserProcesses": "no", "KillOnlyUsers": "", "KillExcludeUsers": "root", **_configured()}
    only, excluded = settings["KillOnlyUsers"].split(), settings["KillExcludeUsers"].split()
    on = settings["KillUserProcesses"].lower() in ("yes", "true", "on", "1", "y", "t")
    return on and user not in excluded and (not only or user in only)


def _configured() -> dict[str, str]:
    """logind.conf and its drop-ins, which count in the order of their names, wherever they lie."""
    dropins: dict[str, str] = {}
    for place in reversed(_PLACES):
        folder = place + "/logind.conf.d"
        dropins.update({name: f"{folder}/{name}" for name in names(folder) if name.endswith(".conf")})
    own = next((text(p + "/logind.conf") for p in _PLACES if os.path.exists(p + "/logind.conf")), "")
    found = dict(_COMPILED.findall(own))
    for content in [own, *(text(dropins[name]) for name in sorted(dropins))]:
        found.update(_SETTING.findall(content))
    return found


def _limit(name: str) -> int | None:
    import resource

    soft = resource.getrlimit(getattr(resource, name))[0] if hasattr(resource, name) else resource.RLIM_INFINITY
    return None if soft == resource.RLIM_INFINITY else int(soft)


def _processes_left() -> int | None:
    """How many more threads the user may start. root may start any number."""
    limit = _limit("RLIMIT_NPROC")
    if limit is None or os.getuid() == 0:
        return None
    threads = 0
    for pid in filter(str.isdigit, names("/proc")):
        try:
            if os.stat("/proc/" + pid).st_uid == os.getuid():
                threads += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:  # gone meanwhile
            continue
    return max(0, limit - threads)
