"""`[environment]`: the packages that a run needs, in a virtual environment on each host, made once and then reused.

They are those of a list that comes with Motley (`remote.provision.package_list`), of the user's file, or of both.

`remote.session.session` and `remote.launch.calibrate` have them made before they look at the hosts; `motley check` only
looks for them. From then on `Hosts` gives the environment's Python for its host, so all that is started there runs in
it.

    >>> await prepare(hosts, emit)
    {'box1': CommandFailed('box1', 'pip could not install requirements.txt: No matching distribution …')}
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from motley.remote.answers import Answer
from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CommandFailed, ConfigError, HostError
from motley.remote.hosts.pool import Emit, Hosts, python_of
from motley.remote.hosts.reach import Connection
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.package_list import text_of
from motley.remote.provision.packages import Kind, Looked, ask, named, on_each, to_log
from motley.remote.provision.push_folder import push_folder
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import there

LOOK_S = 8.0  # for a host to say whether it has one
LAST = 3  # lines of pip that an error shows
SILENT_S = 900.0  # without a word of pip, which may be fetching something large
INSTALLS = re.compile(r"sudo apt install python3\.[0-9]{1,2}-venv")  # all that a host may ask to have run
KIND = Kind("environment", "its environment is not made yet", "made")
OTHER_FILE = re.compile(r"^\s*(-r|-c|-e|--requirement|--constraint|--editable)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one host is to have. `wheels` are the only ones to install from."""

    name: str  # of what is installed, for people
    packages: str  # a list that comes with Motley
    requirements: str
    wheels: Folder | None
    system: bool

    @property
    def key(self) -> str:
        wheels = self.wheels.hash if self.wheels is not None else ""
        listed = f"{self.packages}\n\0" if self.packages else ""
        return hashlib.sha256(f"{wheels}\n{listed}{self.requirements}".encode()).hexdigest()


def read(cluster: Cluster, hosts: Iterable[Host]) -> dict[str, Wanted]:
    """Of each host that is to have one. Raises ConfigError for a file or folder that can't be used."""
    found: dict[str, Wanted] = {}
    folders: dict[str, Folder] = {}
    for host in hosts:
        if not host.installs or host.runtime is not None:  # of a container: it is in the image
            continue
        wheels = None
        if host.wheels:
            if host.wheels not in folders:
                folders[host.wheels] = _wheels(cluster, host, Path(host.wheels))
            wheels = folders[host.wheels]
        text = requirements_of(cluster, host, Path(host.requirements)) if host.requirements else ""
        names = [f'packages = "{host.packages}"'] if host.packages else []
        names += [Path(host.requirements).name] if host.requirements else []
        found[host.name] = Wanted(
            name=" and ".join(names), packages=text_of(host.packages) if host.packages else "", requirements=text,
            wheels=wheels, system=host.system_site_packages,
        )  # fmt: skip
    return found


async def prepare(hosts: Hosts, emit: Emit, names: Iterable[str] | None = None) -> dict[str, HostError]:
    """Have the environments made that are not there yet, on all hosts or on those named.

    Returns the hosts where that failed; those that can't be reached are left out: whoever looks at them next says so.
    Raises ConfigError as `read` does.
    """
    return (await _all(hosts, emit, names, build=True)).failed


async def look(hosts: Hosts, emit: Emit) -> Looked:
    """Take the environments that are there; a host that can't say is left out. Raises as `read` does."""
    return replace(await _all(hosts, emit, None, build=False), failed={})


async def _all(hosts: Hosts, emit: Emit, names: Iterable[str] | None, *, build: bool) -> Looked:
    wanted = await asyncio.to_thread(read, hosts.cluster, named(hosts, names))

    async def have(name: str, connection: Connection) -> str:
        return await _have(hosts, connection, wanted[name], emit, build=build)

    return await on_each(hosts, KIND, wanted, emit, have)


async def _have(hosts: Hosts, connection: Connection, wanted: Wanted, emit: Emit, *, build: bool) -> str:
    """What the host has now, in words; empty when it has none. Raises a HostError."""
    name = connection.host.name
    python = python_of(hosts.as_written(name))
    told = await _ask(connection, python, wanted, emit, build=False)
    if build and not told.text("python"):
        if wanted.wheels is not None:
            await push_folder(connection, python, wanted.wheels, "the wheels", emit, stage="packages")
        told = await _ask(connection, python, wanted, emit, build=True)
    if not told.text("python"):
        return ""
    hosts.run_with(name, told.text("python"))
    return "has the environment " + ("now" if told.get("built") else "already")


async def _ask(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, build: bool) -> Answer:
    """The answer of a host that has the environment, or was only to look. Raises a HostError."""
    host = connection.host
    request = {
        "packages": wanted.packages,
        "requirements": wanted.requirements,
        "wheels": wanted.wheels.place if wanted.wheels is not None else "",
        "key": wanted.key,
        "system": wanted.system,
        "build": build,
    }
    within_s = SILENT_S if build else LOOK_S
    cause = f"{python} said nothing for {within_s:g} s while it made the environment"
    trial = there(host, pasteable([python, "-m", "venv", "--help"]))
    told = await ask(
        connection, python, "virtualenv", request, emit, within_s=within_s,
        silent=(cause, "Look at its network and its load."),
        ended=lambda said: (
            f"{python} made no environment and said: {said}", f"See whether it works there: {trial}"
        ),
    )  # fmt: skip
    if not told.ok:
        raise _failure(host, wanted, told, emit)
    return told


def _failure(host: Host, wanted: Wanted, told: Answer, emit: Emit) -> CommandFailed:
    """All that it said goes to the log, the last lines into the error."""
    said = to_log(host.name, told, emit)
    errors = [line for line in said if line.startswith("ERROR")] or said
    cause = ": ".join([told.text("error"), *([" / ".join(errors[-LAST:])] if said else [])])
    remedy = told.text("remedy")
    if INSTALLS.fullmatch(remedy):
        return CommandFailed(host.name, cause, f"Install what it lacks: {there(host, remedy)}")
    where = "the folder of wheels" if wanted.wheels is not None else "the package index that it uses"
    look = f"Look at {where}" if not wanted.requirements else f"Correct {wanted.name}, or look at {where}"
    return CommandFailed(host.name, cause, f"{look}; the log has more of it.")


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
