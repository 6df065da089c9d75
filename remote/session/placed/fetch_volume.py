"""`motley fetch`: what a run has left on its volume in Kubernetes, brought home: by way of its pod that leads, where it
still runs, else of a short one that mounts the volume.

>>> await fetch(cluster, "night", print)
Fetched(folder=PosixPath('…/experiments/night/volume'), files=7, bytes=4210332)
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from motley.remote.config.cluster import Cluster
from motley.remote.errors import NotWritten, RunFailed, UsageError
from motley.remote.experiment.folder import experiments_folder
from motley.remote.hosts.kubectl import Kubectl, refused
from motley.remote.hosts.kubectl_errors import OWN_CODE
from motley.remote.hosts.pods import Seen, by_number, of_run, seen
from motley.remote.kubernetes.helper_pod import helper_pod
from motley.remote.placement.placement import starts_runs
from motley.remote.sanitize import clean
from motley.trainer.bootstrap import durable

LOOK_S = 1.0
END_S = 60.0
NOTHING = 3  # exit code of `PACK` where the volume has nothing of the run
Say = Callable[[str], object]

# The run may go on meanwhile: files come, go, grow and get other names. What has two names (hard links) comes twice.
PACK = """
import os, sys, tarfile
run, home = sys.argv[1], os.path.expanduser("~")
runs = os.path.join(home, ".motley", "runs")
there = os.listdir(runs) if os.path.isdir(runs) else []
mine = [name for name in there if name == run or name.startswith(run + ".") and name[len(run) + 1:].isdigit()]
roots = [(os.path.join(runs, n), "" if n == run else "attempt-" + n[len(run) + 1:]) for n in mine]
output = os.path.join(home, run)
roots += [(output, "output")] if os.path.isdir(output) else []
found = []
for root, name in roots:
    for folder, _, files in os.walk(root):
        for file in files:
            path = os.path.join(folder, file)
            part = file.startswith(".") and file.endswith(".part")  # is being written, and gets its name then
            if file != "spec.json" and not part and os.path.isfile(path) and not os.path.islink(path):
                found.append((path, os.path.join(name, os.path.relpath(path, root))))
if not found:
    print(", ".join(sorted(there)[:20]), file=sys.stderr)
    sys.exit(3)
class AsLong:
    "A file as long as it was when it was looked at, though it grows or is cut meanwhile."
    def __init__(self, file):
        self.file = file
    def read(self, size):
        return self.file.read(size).ljust(size, b"\\0")
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT, dereference=True) as tar:
    for path, name in sorted(found):
        try:
            file = open(path, "rb")
        except FileNotFoundError:  # the run goes on: an older checkpoint makes room, one that is written gets its name
            continue
        with file:
            tar.addfile(tar.gettarinfo(arcname=name, fileobj=file), AsLong(file))
"""


class Fetched(NamedTuple):
    folder: Path
    files: int
    bytes: int


async def fetch(cluster: Cluster, run: str, say: Say) -> Fetched:
    """Into `experiments/<run>/volume/`, a folder for each host; files of an earlier fetch are replaced.

    Raises UsageError for a cluster of another kind and for a run that has left nothing there, a HostError, RunFailed
    when a pod for it can't be had, NotWritten.
    """
    if not starts_runs(cluster):
        text = '`motley fetch` is for runs in Kubernetes (connect = "kubernetes"), whose pods are gone after them'
        raise UsageError(f"{text}; from other hosts `motley attach` brings home what there is")
    kubectl = Kubectl(cluster.kubernetes)
    await kubectl.check_version()
    folder = experiments_folder(cluster) / run / "volume"
    async with _pod(kubectl, cluster, run, say) as pod:
        say(f"fetching what '{run}' has left on its volume, by way of pod {pod.name}")
        with tempfile.TemporaryFile() as packed:
            await _pack(kubectl, pod, run, packed)
            packed.seek(0)
            return await asyncio.to_thread(unpack, packed, folder)


async def _pack(kubectl: Kubectl, pod: Seen, run: str, packed: IO[bytes]) -> None:
    argv = kubectl.argv("exec", pod.name, "-c", pod.container, "--", "python3", "-c", PACK, run)
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=packed, stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    text = said.decode(errors="replace")
    if child.returncode == NOTHING and OWN_CODE.search(text):
        there = clean(text.splitlines()[0]) if len(text.splitlines()) > 1 else ""
        known = f"; it has {there}" if there else ", nor of any other run"
        raise UsageError(f"the volume has nothing of a run '{run}'{known}")
    if child.returncode:
        raise refused(text, f"what '{run}' has left can't be read")


def unpack(packed: IO[bytes], folder: Path) -> Fetched:
    """Plain files alone, none of them outside of the folder. Raises RunFailed for what is cut short, NotWritten."""
    count = size = 0
    try:
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or path.is_absolute() or ".." in path.parts:
                    continue
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part = durable.part_of(str(place))
                with open(part, "wb") as file:
                    while chunk := content.read(1 << 20):
                        file.write(chunk)
                durable.put(part, str(place))
                count, size = count + 1, size + member.size
    except (tarfile.TarError, EOFError) as error:
        raise RunFailed(f"what came was cut short ({error}): call motley fetch again") from error
    except OSError as error:
        raise NotWritten(f"{folder} can't be written: {error.strerror or error}") from error
    return Fetched(folder, count, size)


@asynccontextmanager
async def _pod(kubectl: Kubectl, cluster: Cluster, run: str, say: Say) -> AsyncIterator[Seen]:
    """One that has the volume; a helper is deleted again, whatever happens."""
    found = by_number((await kubectl.table("get", "pods", "-l", of_run(run))).get("items", []))
    leads = found.get(0)
    if leads is not None and leads.phase == "runs":
        yield leads
        return
    name = f"motley-fetch-{secrets.token_hex(4)}"
    document = helper_pod(cluster, name)
    say(f"no pod of '{run}' runs: starting {name}, which mounts its volume")
    try:
        done = await kubectl.run("create", "-f", "-", stdin=json.dumps(document).encode())
        if done.code:
            raise refused(done.stderr, "the cluster takes no pod to fetch with")
        yield await _running(kubectl, name, say)
    finally:
        await asyncio.shield(asyncio.ensure_future(_delete(kubectl, name, say)))


async def _running(kubectl: Kubectl, name: str, say: Say) -> Seen:
    told = ""
    while True:
        pod = seen(await kubectl.table("get", "pod", name))
        if pod.phase == "runs":
            return pod
        if pod.phase in ("gone", "ends") or pod.never:
            raise RunFailed(f"pod {name}: {pod.says}\n  {pod.remedy}")
        text = f"{pod.says.rstrip('.')}. {pod.remedy}" if pod.remedy else pod.says
        if text != told:
            told = text
            say(f"{name}: {text}")
        await asyncio.sleep(LOOK_S)


async def _delete(kubectl: Kubectl, name: str, say: Say) -> None:
    done = await kubectl.run("delete", "pod", name, "--ignore-not-found", "--wait=true", timeout_s=END_S)
    if done.code:
        say(f"pod {name} is left: {kubectl.to_paste('delete', 'pod', name)} ends it")
