"""The GPUs of a host: NVIDIA's, what they are used for, what is wrong with them; and those that only torch knows. Runs
there: see `trainer.bootstrap`."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
from typing import Any

from motley.trainer.bootstrap.files import command, names, text

SMI_S = 3.0
TORCH_S = 20  # of a large torch that is read from a disk
CARDS = "/proc/driver/nvidia/gpus"
ASKS_TORCH = """
import json, sys
sys.path[:] = [place for place in sys.path if place]  # the home folder holds no modules
import torch
kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
found = []
for index in range(torch.accelerator.device_count() if kind is not None else 0):
    card = torch.get_device_module(kind).get_device_properties(index)
    found.append({"device": kind.type + ":" + str(index), "name": card.name, "total_mib": card.total_memory >> 20})
print("motley:" + json.dumps(found))
"""


def gpus() -> tuple[list[dict[str, Any]], str]:
    """NVIDIA's, by nvidia-smi; by the driver's files where that is missing or fails. And how it failed."""
    if not command("nvidia-smi"):
        return _by_files(), ""
    (rows, trouble), (used, _), (generations, _) = _asked(
        "--query-gpu=index,uuid,name,memory.total,memory.free,driver_version",
        "--query-compute-apps=gpu_uuid,pid,process_name,used_memory",
        "--query-gpu=uuid,compute_cap",  # an old nvidia-smi does not know that
    )
    users, capability = _users(used), {row[0]: row[1] for row in generations if len(row) == 2}
    found = []
    for row in rows:
        if len(row) == 6 and row[0].isdigit():
            total, free = (int(c) if c.isdigit() else None for c in row[3:5])
            found.append({"index": int(row[0]), "name": row[2], "total_mib": total, "free_mib": free})
            found[-1].update(driver=row[5], users="; ".join(users.get(row[1], [])))
            found[-1].update(capability=capability.get(row[1], ""))
    if found:
        return found, ""
    cards = _by_files()
    return cards, trouble if cards or "No devices were found" not in trouble else ""


def torchs_cards() -> dict[str, Any]:
    """The cards that torch can use, or why it did not say: torch is imported, in a process of its own."""
    import subprocess

    child = subprocess.Popen(
        [sys.executable, "-c", ASKS_TORCH],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        text = child.communicate(timeout=TORCH_S)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return {"accelerators": [], "trouble": f"torch did not say within {TORCH_S} s which cards there are"}
    lines = [line for line in text.splitlines() if line.strip()]
    found = next((line for line in reversed(lines) if line.startswith("motley:")), None)
    if found is None:
        return {"accelerators": [], "trouble": lines[-1].strip() if lines else "torch said nothing of its cards"}
    return {"accelerators": json.loads(found[len("motley:") :]), "trouble": ""}


def _asked(*queries: str) -> list[tuple[list[list[str]], str]]:
    """The rows of each table, or how it failed."""
    import subprocess  # takes its time, and most hosts have no nvidia-smi

    def told(child: subprocess.Popen[bytes]) -> tuple[list[list[str]], str]:
        try:
            said = child.communicate(timeout=SMI_S)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            child.kill()
            return [], f"nvidia-smi did not answer within {SMI_S:g} s"
        if child.returncode != 0:
            return [], (said.strip().splitlines() or [f"nvidia-smi ended with code {child.returncode}"])[0]
        return [[cell.strip() for cell in row.split(",")] for row in said.splitlines()], ""

    children = [
        subprocess.Popen(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for query in queries
    ]
    return [told(child) for child in children]


def _users(rows: list[list[str]]) -> dict[str, list[str]]:
    """Who computes on each GPU, by its uuid."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if len(row) == 4:
            uuid, pid, process, mib = row
            owner = _owner(pid)
            words = f"{os.path.basename(process)} (pid {pid}{', ' + owner if owner else ''})"
            found.setdefault(uuid, []).append(f"{words} {mib} MiB" if mib.isdigit() else words)
    return found


def _owner(pid: str) -> str:
    try:
        return pwd.getpwuid(os.stat("/proc/" + pid).st_uid).pw_name
    except (OSError, KeyError):  # gone, in another container, or of a user without a name
        return ""


def _by_files() -> list[dict[str, Any]]:
    found = []
    for index, card in enumerate(names(CARDS)):
        model = re.search(r"^Model:\s*(.+)$", text(os.path.join(CARDS, card, "information")), re.MULTILINE)
        name = model.group(1) if model else "NVIDIA GPU"
        found.append({"index": index, "name": name, "total_mib": None, "free_mib": None, "driver": "", "users": ""})
        found[-1]["capability"] = ""
    return found
