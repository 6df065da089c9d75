"""`[environment] runtime`: hosts whose ranks run in containers. Their image is brought there before a run starts.

It is there already, or the host pulls it from its registry, builds it by a Dockerfile, or is sent the one of this
machine. Then it is looked into: what counts is the torch in the image, not that of the host. `motley check` only looks.
From then on `Hosts` knows the image, and the host's spec names it; what of a run is not a rank stays outside.

    >>> await prepare(hosts, emit)
    {'box1': CommandFailed('box1', 'the user may not use docker', 'Put the user into its group, …')}
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

from motley.remote.answers import Answer, made, using
from motley.remote.errors import CommandFailed, HostError
from motley.remote.hosts.image_contents import ImageContents, Library
from motley.remote.hosts.pool import Emit, Hosts, python_of
from motley.remote.hosts.reach import Connection
from motley.remote.provision.image_errors import too_old, trouble
from motley.remote.provision.image_transfer import of_this_machine, send
from motley.remote.provision.packages import Kind, Looked, ask, named, on_each, to_log
from motley.remote.provision.wanted_image import Wanted, read
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean
from motley.remote.ssh.shell import there
from motley.trainer import bootstrap
from motley.trainer.contract.spec import Container
from motley.trainer.devices.names import build_of

LOOK_S = 75.0  # for a host to say what it has; that asks docker several times, each within a bound of its own
SILENT_S = 1800.0  # without a word, while it pulls or builds: a layer of some GB may be one line
OLDEST_PYTHON = (3, 10)
KIND = Kind("container", "its image is not there yet", "brought")
PROGRAM = Path(next(iter(bootstrap.__path__))) / "python_and_torch.py"


async def prepare(hosts: Hosts, emit: Emit, names: Iterable[str] | None = None) -> dict[str, HostError]:
    """Have the images brought that are not there yet, to all hosts or to those named.

    Returns the hosts where that failed; those that can't be reached are left out: whoever looks at them next says so.
    Raises ConfigError for a Dockerfile that can't be read.
    """
    return (await _all(hosts, emit, names, get=True)).failed


async def look(hosts: Hosts, emit: Emit) -> Looked:
    """Look at the images that are there, and bring none. Raises as `prepare` does."""
    return await _all(hosts, emit, None, get=False)


async def _all(hosts: Hosts, emit: Emit, names: Iterable[str] | None, *, get: bool) -> Looked:
    wanted = await asyncio.to_thread(read, hosts.cluster, named(hosts, names))

    async def have(name: str, connection: Connection) -> str:
        told = await _bring(connection, python_of(hosts.named(name)), wanted[name], emit, get=get)
        if told is None or not told.text("id"):
            return ""
        inside = _inside(connection, wanted[name], told)
        hosts.look_into(name, inside)
        return f"has {wanted[name].shown}: Python {inside.python}, torch {inside.torch or 'missing'}"

    return await on_each(hosts, KIND, wanted, emit, have)


async def _bring(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, get: bool) -> Answer | None:
    """What the host says of the image; its `id` is empty when it has none. None: it has another than this machine."""
    host = connection.host
    told = await _ask(connection, python, wanted, emit, get=False)
    if wanted.from_master:
        mine = await of_this_machine(host.name, wanted.runtime, wanted.name)
        if told.get("content") == mine.content:
            return told
        if not get:
            return None
        await send(connection, wanted.runtime, wanted.name, mine, emit)
        told = await _ask(connection, python, wanted, emit, get=False)
        if told.get("content") != mine.content:
            cause = f"{wanted.shown} was sent there, and {wanted.runtime} there has another one by that name"
            look_ = there(host, pasteable([wanted.runtime, "image", "ls"]))
            raise CommandFailed(host.name, cause, f"See what it has, and whether its disk is full: {look_}")
    elif get and not told.text("id"):
        told = await _ask(connection, python, wanted, emit, get=True)
    return told


def _inside(connection: Connection, wanted: Wanted, told: Answer) -> ImageContents:
    """Raises CommandFailed when its Python is too old."""
    python = told.text("python")
    if tuple(map(int, re.findall(r"\d+", python)[:2])) < OLDEST_PYTHON:
        raise CommandFailed(connection.host.name, *too_old(wanted, python))
    if wanted.runtime == "podman" and not told.get("lingers"):
        user = connection.host.user or "$USER"
        linger = there(connection.host, f"sudo loginctl enable-linger {user}")
        cause = "podman's containers end there when the user logs out: a run would end with the console"
        raise CommandFailed(connection.host.name, cause, f"Let them stay: {linger}")
    return ImageContents(
        container=Container(
            runtime=wanted.runtime, image=clean(wanted.image or wanted.name), id=told.text("id"),
            rootless=told.get("rootless") is True, mounts=connection.host.mounts,
        ),
        python=python, torch=told.text("torch"), torch_build=build_of(told.text("torch_build")),
        pillow=told.text("pillow"), libraries=_libraries(told),
    )  # fmt: skip


def _libraries(told: Answer) -> tuple[Library, ...]:
    """Raises CommandFailed."""
    with using(told.host, told.program):
        return tuple(made(Library, row) for row in told.tables("libraries"))


async def _ask(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, get: bool) -> Answer:
    """The answer of the host. Raises a HostError with what did not work."""
    host = connection.host
    within_s = SILENT_S if get else LOOK_S
    info = there(host, pasteable([wanted.runtime, "info"]))
    told = await ask(
        connection, python, "container_image", wanted.request(PROGRAM.read_text("utf-8"), get=get), emit,
        within_s=within_s,
        silent=(f"{wanted.runtime} said nothing for {within_s:g} s", f"See whether it works: {info}"),
        ended=lambda said: (f"{python} did not look at {wanted.shown} and said: {said}", "Report this."),
    )  # fmt: skip
    if not told.ok:
        said = to_log(host.name, told, emit)
        raise CommandFailed(host.name, *trouble(host, wanted, told.text("stage"), told.whole("code"), said))
    return told
