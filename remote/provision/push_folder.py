"""Brings a large folder to a host, file by file: only what is lacking there, and on from where it broke off.

For data sets and wheels. Code goes with `remote.provision.push_code`, which is quicker for many small files.

    >>> await push_folder(connection, "python3", Folder.of(Path("data")), "the data", emit)
    8123456
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from motley.remote.answers import Answer, using
from motley.remote.errors import OVERLOADED, CommandFailed, HostError, MotleyError, Unreachable
from motley.remote.feed import Progress, Stage
from motley.remote.hosts.reach import Connection, RemoteProcess
from motley.remote.provision.bootstrap import Answers, conversation
from motley.remote.provision.local_folder import CHUNK, Folder

SILENT_S = 120.0  # without a byte taken by the host, or a word of it
HASHED_S = 1 / 30_000_000  # for a byte that a slow host reads to see whether it is right
AGAIN = "Try again: it goes on from there."
STEP = 0.01  # of the whole, between two words of progress


async def push_folder(
    connection: Connection,
    python: str,
    folder: Folder,
    what: str,
    emit: Callable[[Progress], None],
    *,
    stage: Stage = "data",
) -> int:
    """Its files lie at `folder.place` there afterwards. Returns how many bytes were sent. `what` it is, for people.

    Raises CommandFailed when the host can't store it, Unreachable when the connection breaks.
    """
    host = connection.host.name
    try:
        sent = await _push(connection, python, folder, what, emit, stage)
    except HostError as error:
        emit(Progress(host=host, stage=stage, text=error.cause, done=True, failed=True))
        raise
    text = f"has {what} {'now' if sent else 'already'}, {amount(folder.bytes)}"
    emit(Progress(host=host, stage=stage, text=text, fraction=1.0, done=True))
    return sent


async def _push(
    connection: Connection, python: str, folder: Folder, what: str, emit: Callable[[Progress], None], stage: Stage
) -> int:
    host = connection.host.name
    request = {"name": folder.hash, "files": [[file.path, file.size, file.sha256] for file in folder.files]}
    emit(Progress(host=host, stage=stage, text=f"looking for {what}"))
    async with conversation(connection, python, "receive_folder") as (process, answers):
        await process.write(json.dumps(request).encode() + b"\n")
        told = await _answer(host, process, answers, SILENT_S + folder.bytes * HASHED_S)
        if "lacks" not in told:
            raise _refused(host, folder, what, told)
        lacks = _lacking(told, folder)
        rest = asyncio.ensure_future(_answer(host, process, answers, None))
        try:
            total = sum(folder.files[index].size - offset for index, offset in lacks)
            sent = await _send(process, folder, lacks, rest, _teller(host, stage, what, total, emit))
            told = await asyncio.wait_for(asyncio.shield(rest), SILENT_S)
        except asyncio.TimeoutError as error:
            raise Unreachable(host, f"it took nothing for {SILENT_S:g} s", AGAIN) from error
        except OSError as error:
            cause = f"{error.filename} can't be read here: {error.strerror}"
            raise CommandFailed(host, cause, "Make it readable, then try again.") from error
        finally:
            rest.cancel()
            await asyncio.gather(rest, return_exceptions=True)
    if not told.ok:
        raise _refused(host, folder, what, told)
    return sent


def _lacking(told: Answer, folder: Folder) -> list[tuple[int, int]]:
    """Indices of files, each once, and from which byte on it is lacking. Raises CommandFailed."""
    with using(told.host, told.program):
        lacks = {int(index): int(offset) for index, offset in told["lacks"]}
        for index, offset in lacks.items():
            if index < 0 or not 0 <= offset <= folder.files[index].size:
                raise ValueError(f"file {index} from byte {offset} on")
        return list(lacks.items())


async def _send(
    process: RemoteProcess,
    folder: Folder,
    lacks: list[tuple[int, int]],
    rest: asyncio.Future[Answer],
    tell: Callable[[int], None],
) -> int:
    """Ends early when the host has answered already: then it takes no more."""
    sent = 0
    for index, offset in lacks:
        entry = folder.files[index]
        with (folder.root / entry.path).open("rb") as file:
            file.seek(offset)
            left = entry.size - offset
            while left and not rest.done():
                chunk = await asyncio.to_thread(file.read, min(CHUNK, left))
                if not chunk:  # shorter than it was: the host will see
                    chunk = bytes(min(CHUNK, left))
                await asyncio.wait_for(process.write(chunk), SILENT_S)
                left -= len(chunk)
                sent += len(chunk)
                tell(sent)
    return sent


def _teller(host: str, stage: Stage, what: str, total: int, emit: Callable[[Progress], None]) -> Callable[[int], None]:
    last = -STEP

    def tell(sent: int) -> None:
        nonlocal last
        fraction = sent / total if total else 1.0
        if fraction - last >= STEP:
            last = fraction
            text = f"sending {what}, {amount(sent)} of {amount(total)}"
            emit(Progress(host=host, stage=stage, text=text, fraction=min(fraction, 1.0)))

    return tell


async def _answer(host: str, process: RemoteProcess, answers: Answers, within_s: float | None) -> Answer:
    try:
        told = await answers.after_notes(within_s)
    except asyncio.TimeoutError as error:
        raise CommandFailed(host, f"it said nothing for {within_s:.0f} s", OVERLOADED) from error
    if told is None:
        said = process.stderr_tail.splitlines()[-1:] or ["nothing"]
        raise CommandFailed(host, f"it stopped taking files and said: {said[0]}", AGAIN)
    return told


def _refused(host: str, folder: Folder, what: str, told: Answer) -> MotleyError:
    cause = f"{what} could not be stored in ~/{folder.place}: {told.text('error')}"
    return CommandFailed(host, cause, "Make room there and make ~/.motley writable: df -h ~; ls -ld ~/.motley")


def amount(count: int) -> str:
    """Bytes for people.

    >>> amount(812), amount(8_123_456)
    ('1 KiB', '7.7 MiB')
    """
    if count < 2**20:
        return f"{-(-count // 2**10)} KiB"
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
