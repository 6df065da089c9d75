"""The program that runs on a host before anything of ours is there: `probe` it, or `unpack` a tree of files.

A large tree of which the host has most files already is not sent whole: `lacks` says which are new, and `unpack` takes
the others from the trees that are there.

`remote.bootstrap_call` sends this file's text on the standard input of the host's Python, with what it reads after
it. So it imports the standard library only, nothing of ours, and runs on Python 3.8 to say that 3.10 is needed.
Its answer is the one line of stdout that starts with `motley:`.

    $ (cat remote/bootstrap.py; echo '{}'; cat tree.tar.gz) | ssh box1 python3 -c '…' unpack <hash>
    motley:{"ok": true, "sent": true}
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from typing import Any, BinaryIO

HOME = os.path.expanduser("~")
OURS = os.path.join(HOME, ".motley")
CODE = os.path.join(OURS, "code")
SMI_S = 4.0


def main(argv: list[str], payload: BinaryIO) -> None:
    if argv[0] == "probe":
        answer = probe(argv[1])
    else:
        answer = lacks(payload) if argv[0] == "lacks" else unpack(argv[1], payload)
    sys.stdout.write("\nmotley:" + json.dumps(answer) + "\n")


def unpack(name: str, payload: BinaryIO) -> dict[str, Any]:
    """Files to take from other trees, one JSON line as for `lacks`, and a gzipped tar of the others on stdin
    -> ~/.motley/code/<hash>/, complete or not at all; two at once do no harm."""
    try:
        kept = json.loads(payload.readline())
        return {"ok": True, "sent": store(name, kept, gzip.decompress(payload.read()))}
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def lacks(payload: BinaryIO) -> dict[str, Any]:
    """Of the files on stdin (JSON: {path: [sha256, bytes, mode]}): those that no tree has under the same name."""
    try:
        wanted, places = json.loads(payload.read()), trees()
        return {"ok": True, "lacks": [path for path in wanted if elsewhere(places, path, *wanted[path][:2]) is None]}
    except (OSError, ValueError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def trees() -> list[str]:
    """Those that are here and complete, the newest first."""
    names = os.listdir(CODE) if os.path.isdir(CODE) else []
    return sorted((os.path.join(CODE, n) for n in names if n[0] != "."), key=os.path.getmtime, reverse=True)


def elsewhere(places: list[str], path: str, digest: str, size: int) -> bytes | None:
    """A file of this content, and what it holds, from the first of the trees that has it."""
    for tree in places:
        candidate = os.path.join(tree, *path.split("/"))
        if os.path.isfile(candidate) and os.path.getsize(candidate) == size:
            with open(candidate, "rb") as file:
                content = file.read()
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    return None


def store(name: str, kept: dict[str, Any], packed: bytes) -> bool:
    """False when it is there already."""
    target = os.path.join(CODE, name)
    if os.path.isdir(target):
        return False
    os.makedirs(CODE, mode=0o700, exist_ok=True)
    work = tempfile.mkdtemp(prefix="." + name + "-", dir=CODE)
    try:
        listed, places = hashlib.sha256(), trees() if kept else []
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            sent = {member.name: member for member in tar.getmembers()}
            for path in sorted({*sent, *kept}):
                parts = path.split("/")
                if path.startswith("/") or ".." in parts:
                    raise ValueError(f"the tree holds {path!r}")
                if path in sent:
                    source = tar.extractfile(sent[path]) if sent[path].isfile() else None
                    content, given = source.read() if source else None, sent[path].mode
                else:
                    content, given = elsewhere(places, path, *kept[path][:2]), kept[path][2]
                if content is None:
                    raise ValueError(f"the tree holds {path!r}, which is no file or not here any more")
                place = os.path.join(work, *parts)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb") as file:
                    file.write(content)
                mode = 0o755 if given & 0o100 else 0o644
                os.chmod(place, mode & ~0o222)
                listed.update(f"{path} {mode:o} {hashlib.sha256(content).hexdigest()}\n".encode())
        if listed.hexdigest()[: len(name)] != name:
            raise ValueError("the tree came damaged")
        try:
            os.rename(work, target)
        except OSError:
            if os.path.isdir(target):
                return False  # another console was quicker
            raise
        return True
    finally:
        shutil.rmtree(work, ignore_errors=True)


def probe(leader: str) -> dict[str, Any]:
    """What `remote.probe.Probe` describes."""
    torch, cuda = torch_version()
    ssh = os.environ.get("SSH_CONNECTION", "").split()
    reached = ssh[2].split("%")[0] if len(ssh) == 4 else ""
    address, interface = way_to(reached if leader == "self" else leader)
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "hostname": socket.gethostname(),
        "system": os.uname().sysname,
        "machine": os.uname().machine,
        "home": HOME,
        "boot_id": text("/proc/sys/kernel/random/boot_id"),
        "clock": time.time(),
        "torch": torch,
        "torch_cuda": cuda,
        "gpus": gpus(),
        "cpu_model": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "disk_free_mib": shutil.disk_usage(HOME).free // 2**20 if os.path.isdir(HOME) else 0,
        "unwritable": unwritable(),
        "server_address": reached,
        "address": address,
        "interface": interface,
        "code": sorted(n for n in os.listdir(CODE) if not n.startswith(".")) if os.path.isdir(CODE) else [],
    }


def text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def cpu_model() -> str:
    info = text("/proc/cpuinfo")
    for key in ("model name", "Model", "cpu model", "Hardware"):
        found = re.search(r"^" + key + r"[ \t]*:[ \t]*(\S.*)$", info, re.MULTILINE)
        if found:
            return " ".join(found.group(1).split())
    return os.uname().machine


def torch_version() -> tuple[str, str]:
    """Version and CUDA version of torch, read from its files: importing it takes seconds."""
    from importlib import metadata

    try:
        found = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return "", ""
    source = text(str(found.locate_file("torch/version.py")))
    version = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", source)
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", source, re.MULTILINE)
    return (version.group(1) if version else found.version), (cuda.group(1) if cuda else "")


def gpus() -> list[dict[str, Any]]:
    """NVIDIA's, by nvidia-smi; by the driver's files where that is missing or hangs."""
    query = "index,name,memory.total,memory.free,driver_version"
    try:
        out = subprocess.run(
            ["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SMI_S,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        out = ""
    found = []
    for row in out.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 5 and cells[0].isdigit():
            total, free = (int(c) if c.isdigit() else None for c in cells[2:4])
            found.append({"index": int(cells[0]), "name": cells[1], "total_mib": total, "free_mib": free})
            found[-1]["driver"] = cells[4]
    if found:
        return found
    cards = "/proc/driver/nvidia/gpus"
    for index, card in enumerate(sorted(os.listdir(cards)) if os.path.isdir(cards) else []):
        model = re.search(r"^Model:\s*(.+)$", text(os.path.join(cards, card, "information")), re.MULTILINE)
        name = model.group(1) if model else "NVIDIA GPU"
        found.append({"index": index, "name": name, "total_mib": None, "free_mib": None, "driver": ""})
    return found


def unwritable() -> str:
    """Why nothing can be written under ~/.motley; empty when it can."""
    try:
        os.makedirs(OURS, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=OURS) as file:
            file.write(b"motley")
        return ""
    except OSError as error:
        return f"{error.strerror}: {error.filename or OURS}"


def way_to(leader: str) -> tuple[str, str]:
    """This host's address towards `leader` (numeric), and the interface that has it."""
    if not leader:
        return "", ""
    family = socket.AF_INET6 if ":" in leader else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe_socket:
            probe_socket.connect((leader, 9))  # sends nothing, picks the route
            address = probe_socket.getsockname()[0].split("%")[0]
    except OSError:
        return "", ""
    return address, interface_of(address, family)


def interface_of(address: str, family: int) -> str:
    if family == socket.AF_INET6:
        wanted = socket.inet_pton(family, address).hex()
        for row in text("/proc/net/if_inet6").splitlines():
            if row.split()[0] == wanted:
                return row.split()[5]
        return ""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(any_socket.fileno(), 0x8915, request)  # SIOCGIFADDR
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""
