"""What a host says of itself: `remote.preflight.probe.Probe` describes the answer. Runs there: see `trainer.bootstrap`.

It is asked with `{"leader": numeric address, "self" or "", "own": its address where no SSH connection tells it,
"ports": to be free there, "data": null or {"path", "name" of the data set or ""}, "code": the tree of ours that a run
would need, or "", "command": a program that it would start, or "", "path": its PATH, or "", "libraries": names of
packages whose versions are asked for, "folders": that are to be there}`.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from typing import Any

from motley.trainer.bootstrap.code_trees import stamped, whole
from motley.trainer.bootstrap.files import CODE, HOME, OURS, command, names, text
from motley.trainer.bootstrap.gpus import gpus
from motley.trainer.bootstrap.leftovers import leftovers
from motley.trainer.bootstrap.login_limits import login
from motley.trainer.bootstrap.network import firewall, interface_of, interfaces, port_taken, way_to
from motley.trainer.bootstrap.python_and_torch import pillow_version, torch_version, versions


def probe(request: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    version, build = torch_version()
    cards, gpu_trouble = gpus()
    data_missing, data_elsewhere = data(request.get("data"))
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "hostname": socket.gethostname(),
        "system": os.uname().sysname,
        "kernel": text("/proc/sys/kernel/osrelease") or os.uname().release,
        "machine": os.uname().machine,
        "home": HOME,
        "boot_id": text("/proc/sys/kernel/random/boot_id"),
        "torch": version,
        "torch_build": build,
        "pillow": pillow_version(),
        "libraries": versions(request.get("libraries") or []),
        "folders_missing": [f for f in request.get("folders") or [] if not os.path.isdir(os.path.expanduser(f))],
        "gpus": cards,
        "gpu_trouble": gpu_trouble,
        "cpu_model": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "memory_available_mib": memory_available_mib(),
        "unwritable": unwritable(),
        "disk_free_mib": disk_free_mib(),
        "data_missing": data_missing,
        "data_elsewhere": data_elsewhere,
        "command_missing": command_missing(str(request.get("command", "")), str(request.get("path", ""))),
        "leftovers": leftovers(),
        "code": code(str(request.get("code", ""))),
        "runs": names(os.path.join(OURS, "runs")),
        **login(),
        **place(str(request.get("leader", "")), request.get("ports") or [], str(request.get("own", ""))),
        "clock": time.time(),
        "took_s": time.monotonic() - began,
    }


def code(wanted: str) -> list[str]:
    """The trees that are whole as far as is known; the one `wanted` is looked at."""
    found = [name for name in names(CODE) if not name.startswith(".")]
    return [name for name in found if (whole if name == wanted else stamped)(os.path.join(CODE, name))]


def place(leader: str, ports: list[int], own: str = "") -> dict[str, Any]:
    """Its place in the network. `ports` are looked at on the leader, where they must be free."""
    ssh = os.environ.get("SSH_CONNECTION", "").split()
    reached = ssh[2].split("%")[0] if len(ssh) == 4 and ssh[2] != "UNKNOWN" else ""  # sshd on no socket says that
    reached = own or reached
    leads = leader == "self"
    address, no_way = way_to(reached if leads else leader)
    interface, network = interface_of(address)
    return {
        "server_address": reached,
        "address": address,
        "no_way": no_way,
        "interface": interface,
        "network": network,
        "interfaces": interfaces(),
        "firewall": firewall(),
        **port_taken(reached if leads else "", ports),
    }


def cpu_model() -> str:
    info = text("/proc/cpuinfo")
    for key in ("model name", "Model", "cpu model", "Hardware"):
        found = re.search(r"^" + key + r"[ \t]*:[ \t]*(\S.*)$", info, re.MULTILINE)
        if found:
            return " ".join(found.group(1).split())
    return os.uname().machine


def memory_available_mib() -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else None


def disk_free_mib() -> int:
    """Where ~/.motley is, which may be a disk of its own; else where the home folder is to be."""
    place = OURS
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize // 2**20


def unwritable() -> str:
    """Why nothing can be written under ~/.motley; empty when it can."""
    try:
        os.makedirs(OURS, mode=0o700, exist_ok=True)
        trial = os.path.join(OURS, f".trial-{os.getpid()}")
        try:
            with open(trial, "wb") as file:
                file.write(b"motley")
        finally:
            if os.path.exists(trial):
                os.unlink(trial)
        return ""
    except OSError as error:
        return f"{error.strerror}: {error.filename or OURS}"


def command_missing(program: str, path: str) -> str:
    """Where it was looked for, as `trainer.contract.script` will; empty when it is there, or nothing was asked."""
    given = path.split(os.pathsep) if path else os.get_exec_path()
    folders = [os.path.dirname(sys.executable), *given]
    return "" if not program or command(program, folders) else os.pathsep.join(folders)


def data(wanted: dict[str, str] | None) -> tuple[str, bool]:
    """Why the folder of [data] path can't be used; and whether the data may lie where it is looked for else."""
    if not wanted:
        return "", False
    folder = os.path.expanduser(wanted["path"])
    places = [os.path.join(OURS, "data", wanted["name"]), "/usr/share/datasets/" + wanted["name"].replace("_", "-")]
    elsewhere = bool(wanted["name"]) and any(map(os.path.isdir, places))
    try:
        os.listdir(folder)
        return "", elsewhere
    except OSError as error:
        return f"{folder}: {error.strerror}", elsewhere
