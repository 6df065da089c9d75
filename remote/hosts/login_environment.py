"""The environment of commands on the machine itself: what its sshd would give them, and nothing of the console's.

>>> login_environment("alex", "/home/alex", "/bin/bash", 1000)["LOGNAME"]
'alex'
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from motley.remote.ssh.local_user import local_user

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILES = ("etc/environment", "etc/default/locale")  # that pam_env reads at every login
_LINE = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=(["']?)(.*?)\2\s*$""", re.MULTILINE)


def home() -> str:
    """The user's home folder, as their other programs take it: `HOME` of the console, else what the system says."""
    return os.path.expanduser("~")


def own_environment() -> dict[str, str]:
    """Of commands of the user who runs the console."""
    try:
        shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    except KeyError:  # a container whose user has no name
        shell = "/bin/sh"
    return login_environment(local_user(), home(), shell, os.getuid())


def login_environment(user: str, home: str, shell: str, uid: int, root: Path = Path("/")) -> dict[str, str]:
    """What a login of the user gets on the machine whose files are below `root`."""
    found = {"PATH": PATH}
    for name in FILES:
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found.update({key: value for key, _, value in _LINE.findall(text)})
    if (root / f"run/user/{uid}").is_dir():  # as pam_systemd says it: docker and podman without root look there
        found["XDG_RUNTIME_DIR"] = f"/run/user/{uid}"
    return {**found, "HOME": home, "USER": user, "LOGNAME": user, "SHELL": shell}
