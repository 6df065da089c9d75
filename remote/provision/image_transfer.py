"""The container image of this machine, sent to a host: `docker save` here streamed over SSH into `docker load` there.

>>> mine = await of_this_machine("box1", "docker", "mine:latest")
>>> await send(connection, "docker", "mine:latest", mine, emit)

Which image it is is told by its layers and its environment: ids differ where two machines keep images differently.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from motley.remote.errors import CommandFailed, Unreachable
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit
from motley.remote.hosts.reach import Connection
from motley.remote.provision.push_folder import amount
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean
from motley.remote.ssh.shell import there
from motley.trainer.bootstrap.container_image import FORMAT

T = TypeVar("T")
CHUNK = 2**20
ASK_S = 10.0
SILENT_S = 300.0  # until the other side takes or gives something; what is loaded is unpacked at the end
STEP = 0.02  # of the whole, between two words of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """`content`: as `trainer.bootstrap.container_image` tells it. `size`: about the bytes to send."""

    content: str
    size: int


async def of_this_machine(host: str, runtime: str, image: str) -> Here:
    """The image that is here. Raises CommandFailed for the `host` that is to have it when there is none."""
    code, said = await _ask(host, [runtime, "image", "inspect", "--format", "{{.Size}} " + FORMAT, image])
    size, _, rest = said.strip().partition(" ")
    if code != 0 or not size.isdecimal():
        last = clean((said.strip().splitlines() or [f"exit code {code}"])[-1])
        remedy = f"Build or pull it here: {pasteable([runtime, 'build', '--tag', image, '.'])}"
        raise CommandFailed(host, f"this machine has no image {image} to send: {last}", remedy)
    return Here(content=hashlib.sha256(rest.partition(" ")[2].encode()).hexdigest(), size=int(size))


async def send(connection: Connection, runtime: str, image: str, mine: Here, emit: Emit) -> None:
    """Raises CommandFailed when it can't be read here or loaded there, Unreachable on a broken connection."""
    host = connection.host
    saving = await asyncio.create_subprocess_exec(
        runtime, "save", image, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert saving.stdout is not None
    assert saving.stderr is not None
    errors = asyncio.ensure_future(saving.stderr.read())
    try:
        async with connection.stream([runtime, "load"]) as loading:
            sent, last = 0, -STEP
            while chunk := await _within(saving.stdout.read(CHUNK), host.name):
                await _within(loading.write(chunk), host.name)
                sent += len(chunk)
                fraction = min(sent / mine.size, 1.0) if mine.size else 1.0
                if fraction - last >= STEP:
                    last = fraction
                    text = f"sending the image, {amount(sent)} of about {amount(mine.size)}"
                    emit(Progress(host=host.name, stage="packages", text=text, fraction=fraction))
            code, said = await saving.wait(), clean((await errors).decode(errors="replace")).strip()
            if code != 0:
                raise CommandFailed(host.name, f"{runtime} save ended here with code {code}: {said}", "Try it here.")
            loading.close_stdin()
            await _within(loading.read_all(), host.name)
            if (code := await loading.wait()) != 0:
                cause = f"{runtime} could not load the image there: {loading.stderr_tail or f'exit code {code}'}"
                raise CommandFailed(host.name, cause, f"See whether its disk is full: {there(host, 'df -h')}")
    finally:
        if saving.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                saving.kill()
            await saving.wait()
        errors.cancel()
        await asyncio.gather(errors, return_exceptions=True)


async def _ask(host: str, argv: list[str]) -> tuple[int, str]:
    try:
        child = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        remedy = f"Install {argv[0]} on this machine, or have the hosts get the image themselves: image_from"
        raise CommandFailed(host, f"this machine has no {argv[0]} to send an image with", remedy) from error
    try:
        said, _ = await asyncio.wait_for(child.communicate(), ASK_S)
    except asyncio.TimeoutError as error:
        child.kill()
        await child.wait()
        cause = f"{argv[0]} on this machine did not answer within {ASK_S:g} s"
        raise CommandFailed(host, cause, f"See whether it works here: {argv[0]} info") from error
    return child.returncode or 0, said.decode(errors="replace")


async def _within(doing: Coroutine[Any, Any, T], host: str) -> T:
    try:
        return await asyncio.wait_for(doing, SILENT_S)
    except asyncio.TimeoutError as error:
        remedy = "The connection or its disk may be too slow; try again."
        raise Unreachable(host, f"it took nothing of the image for {SILENT_S:g} s", remedy) from error
