"""`[environment]`: the packages that a run needs, in a virtual environment on each host, made once and then reused.

`remote.run` and `remote.calibrate` have them made before they look at the hosts; `motley check` only looks for them.
From then on `Hosts` gives the environment's Python for its host, so all that is started there runs in it.

    >>> await prepare(hosts, emit)
    {'box1': CommandFailed('box1', 'pip could not install requirements.txt: No matching distribution …')}
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote.bootstrap_call import conversation, no_python
from remote.cluster import Cluster, Host
from remote.connection import Connection
from remote.errors import CommandFailed, ConfigError, Finding, HostError
from remote.feed import Progress
from remote.folder import Folder
from remote.hosts import Emit, Hosts, python_of
from remote.push_folder import push_folder
from remote.remedy import motley
from remote.sanitize import clean
from remote.shell import pasteable, there

LOOK_S = 8.0  # for a host to say whether it has one
LAST = 3  # lines of pip that an error shows
SILENT_S = 900.0  # without a word of pip, which may be fetching something large
OTHER_FILE = re.compile(r"^\s*(-r|-c|-e|--requirement|--constraint|--editable)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one host is to have. `wheels` are the only ones to install from."""

    name: str  # of the file, for people
    requirements: str
    wheels: Folder | None
    system: bool

    @property
    def key(self) -> str:
        wheels = self.wheels.hash if self.wheels is not None else ""
        return hashlib.sha256(f"{wheels}\n{self.requirements}".encode()).hexdigest()


def read(cluster: Cluster, hosts: Iterable[Host]) -> dict[str, Wanted]:
    """Of each host that is to have one. Raises ConfigError for a file or folder that can't be used."""
    found: dict[str, Wanted] = {}
    folders: dict[str, Folder] = {}
    for host in hosts:
        if not host.requirements or host.runtime is not None:  # of a container: it is in the image
            continue
        wheels = None
        if host.wheels:
            if host.wheels not in folders:
                folders[host.wheels] = _wheels(cluster, host, Path(host.wheels))
            wheels = folders[host.wheels]
        text = requirements_of(cluster, host, Path(host.requirements))
        name = Path(host.requirements).name
        found[host.name] = Wanted(name=name, requirements=text, wheels=wheels, system=host.system_site_packages)
    return found


async def prepare(hosts: Hosts, emit: Emit, names: Iterable[str] | None = None) -> dict[str, HostError]:
    """Have the environments made that are not there yet, on all hosts or on those named.

    Returns the hosts where that failed; those that can't be reached are left out: whoever looks at them next says so.
    Raises ConfigError as `read` does.
    """
    wanted = await asyncio.to_thread(read, hosts.cluster, _of(hosts, names))
    outcomes = await asyncio.gather(*(_prepare(hosts, name, wanted[name], emit, build=True) for name in wanted))
    return {name: error for name, error in zip(wanted, outcomes, strict=True) if isinstance(error, HostError)}


async def look(hosts: Hosts, emit: Emit) -> list[str]:
    """Take the environments that are there. Returns the hosts that don't have theirs yet. Raises as `read` does."""
    wanted = await asyncio.to_thread(read, hosts.cluster, hosts.cluster.hosts)
    found = await asyncio.gather(*(_prepare(hosts, name, wanted[name], emit, build=False) for name in wanted))
    return [name for name, built in zip(wanted, found, strict=True) if built is False]


def findings(failed: Mapping[str, HostError]) -> list[Finding]:
    return [Finding(name, "environment", "error", error.cause, error.remedy) for name, error in failed.items()]


def not_built(cluster: Cluster, found: Iterable[Finding], without: Collection[str]) -> tuple[Finding, ...]:
    """The findings of a look at hosts, some `without` their environment yet: what that may bring is not missed."""
    kept = [f for f in found if f.host not in without or f.check not in ("torch", "devices", "driver")]
    words = "its environment is not made yet; whether torch is in it is not known"
    remedy = f"It is made before a run starts: {motley(cluster, 'run')}"
    kept += [Finding(name, "environment", "warning", words, remedy) for name in without]
    order = {host.name: place for place, host in enumerate(cluster.hosts)}
    return tuple(sorted(kept, key=lambda finding: (order[finding.host], finding.level)))


async def _prepare(hosts: Hosts, name: str, wanted: Wanted, emit: Emit, *, build: bool) -> bool | HostError | None:
    """Whether the host has it now; None when it can't be reached."""
    try:
        connection = await hosts.get(name)
    except HostError:
        return None
    python = python_of(hosts.as_written(name))
    try:
        told = await _ask(connection, python, wanted, emit, build=False)
        if build and not told["python"]:
            if wanted.wheels is not None:
                await push_folder(connection, python, wanted.wheels, "the wheels", emit, stage="packages")
            told = await _ask(connection, python, wanted, emit, build=True)
    except HostError as error:
        emit(Progress(host=name, stage="packages", text=error.cause, done=True, failed=True))
        return error if build else None
    if not told["python"]:
        return False
    hosts.run_with(name, clean(str(told["python"])))
    text = "has the environment " + ("now" if told.get("built") else "already")
    emit(Progress(host=name, stage="packages", text=text, fraction=1.0, done=True))
    return True


async def _ask(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, build: bool) -> dict[str, Any]:
    """The answer of a host that has the environment, or was only to look. Raises a HostError."""
    host = connection.host
    request = {
        "requirements": wanted.requirements,
        "wheels": wanted.wheels.place if wanted.wheels is not None else "",
        "key": wanted.key,
        "system": wanted.system,
        "build": build,
    }
    within_s = SILENT_S if build else LOOK_S
    async with conversation(connection, python, "environment") as (process, answers):
        await process.write(json.dumps(request).encode() + b"\n")
        while True:
            try:
                told = await asyncio.wait_for(anext(answers, None), within_s)
            except asyncio.TimeoutError as error:
                cause = f"{python} said nothing for {within_s:g} s while it made the environment"
                raise CommandFailed(host.name, cause, "Look at its network and its load.") from error
            if told is None:
                if await asyncio.wait_for(process.wait(), LOOK_S) == 127:
                    raise CommandFailed(host.name, *no_python(host, python))
                said = process.stderr_tail.splitlines()[-1:] or ["nothing"]
                cause = f"{python} made no environment and said: {said[0]}"
                trial = there(host, pasteable([python, "-m", "venv", "--help"]))
                raise CommandFailed(host.name, cause, f"See whether it works there: {trial}")
            if "note" not in told:
                break
            emit(Progress(host=host.name, stage="packages", text=clean(str(told["note"]))))
    if told.get("ok") is not True:
        raise _failure(host, wanted, told, emit)
    return {**told, "python": told.get("python") or ""}


def _failure(host: Host, wanted: Wanted, told: Mapping[str, Any], emit: Emit) -> CommandFailed:
    """All that it said goes to the log, the last lines into the error."""
    said = [clean(str(line)) for line in told.get("said") or ()]
    for line in said:
        emit(Progress(host=host.name, stage="packages", text=line, failed=True))
    errors = [line for line in said if line.startswith("ERROR")] or said
    cause = ": ".join([clean(str(told.get("error"))), " / ".join(errors[-LAST:])] if said else [str(told.get("error"))])
    remedy = clean(str(told.get("remedy") or ""))
    if remedy:
        return CommandFailed(host.name, cause, f"Install what it lacks: {there(host, remedy)}")
    where = "the folder of wheels" if wanted.wheels is not None else "the package index that it uses"
    return CommandFailed(host.name, cause, f"Correct {wanted.name}, or look at {where}; the log has more of it.")


def _of(hosts: Hosts, names: Iterable[str] | None) -> list[Host]:
    return list(hosts.cluster.hosts) if names is None else [hosts.named(name) for name in names]


def requirements_of(cluster: Cluster, host: Host, path: Path) -> str:
    """The text of the file. Raises ConfigError when a host can't use it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(cluster, host, f"requirements {path} can't be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if OTHER_FILE.match(line) or line.lstrip().startswith((".", "/", "file:")):
            words = f"{path}:{number} names another file, which the hosts don't have: write its lines here"
            raise _wrong(cluster, host, f"{words}, or put a wheel into environment.wheels")
    return text


def _wheels(cluster: Cluster, host: Host, path: Path) -> Folder:
    try:
        return Folder.of(path)
    except (OSError, ValueError) as error:
        raise _wrong(cluster, host, f"the wheels in {path} can't be read: {error}") from error


def _wrong(cluster: Cluster, host: Host, text: str) -> ConfigError:
    return ConfigError(str(cluster.path), [f"{cluster.path.name}: environment of {host.name}: {text}"])
