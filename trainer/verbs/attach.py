"""Follow a run's files on a host: one process, one SSH channel, all files multiplexed from byte offsets.

`python -m motley.trainer attach` reads one line `{"offsets": {file: byte}}`, then writes `wire.Chunk` lines as the
files grow and a `wire.Beat` about once a second, with the line that a rank is writing. `"borders": {file: byte}` beside
the offsets says where a chunk is to end. Who knows that the host may have the run in one of several homes sends, as
`"folders"`, both by the id of each folder, and is told first which one is read. On a slow host it looks less often, to
leave the cores to the training. It ends when its standard input closes, or when the run has ended here, its supervisor
with it, and everything has been sent. It writes nothing on the host, so any number of viewers may follow one run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from motley.profiles.cores import usable_cores
from motley.trainer.contract.wire import END_STATES, Beat, Chunk, Folder, encode
from motley.trainer.host import processes
from motley.trainer.host.printed_times import MarksReader
from motley.trainer.host.run_state import state_of
from motley.trainer.verbs.unfinished_line import UnfinishedLine

POLL_S, SLOWEST_S = 0.2, 1.0
BURDEN = 0.002  # of this host's cores that a viewer may take, as long as that leaves it a look a second
BEAT_S = 1.0
ENDS_S, LOOK_S = 2.0, 0.02  # from a supervisor's last word to its end
CHUNK_BYTES = 256 * 1024
FIRST_BYTES = 64 * 1024  # of the first event, at most
_RANK_FILE = re.compile(r"rank_(\d+)(?:\.(\d+))?\.(jsonl|out)")


def attach(folder: Path, stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Serve one viewer. Returns 0 at the end of the run or of the viewer, 1 when there is no such run here."""
    asked = json.loads(stdin.readline())
    offsets, borders = dict(asked["offsets"]), dict(asked.get("borders", {}))
    folders = asked.get("folders")  # as long as it is not known which of them this one is
    if not folder.is_dir():
        print(f"no run in {folder}", file=sys.stderr)
        return 1
    beat_due = 0.0
    unfinished, marks = UnfinishedLine(), MarksReader(folder)
    cores = usable_cores()
    try:
        while True:
            looked = time.process_time()
            state = state_of(folder)  # before the files: what is written before the end state is sent before it
            ended = state.get("state") in END_STATES
            if folders is not None and ((own := folder_id(folder)) or ended):
                offsets, borders = (dict(folders.get(own, {}).get(of, {})) for of in ("offsets", "borders"))
                folders = None
                stdout.write(encode(Folder(id=own)))
            chunks = new_chunks(folder, offsets, whole=ended, borders=borders, marks=marks)
            for chunk in chunks if folders is None else ():
                offsets[chunk.file] = chunk.end
                stdout.write(encode(chunk))
            if ended:
                wait_for_end(folder, state)
            now = time.monotonic()
            if ended or now >= beat_due:
                beat_due = now + BEAT_S
                outputs = (name for name in followed(folder) if name.endswith(".out"))
                tails = unfinished.news(folder, outputs, offsets)
                stdout.write(encode(Beat(time=time.time(), state=state, tails=tails)))
            stdout.flush()
            if ended:
                return 0
            readable, _, _ = select.select([stdin], [], [], pause_s(time.process_time() - looked, cores))
            if readable and not os.read(stdin.fileno(), 4096):
                return 0
    except BrokenPipeError:
        return 0


def folder_id(folder: Path) -> str:
    """What tells this folder of a run from one of the same name in another home: its first event, which stays as files
    grow, and is the same for all machines that share a home. 16 hexadecimal digits; empty before there is one."""
    try:
        with (folder / "events.jsonl").open("rb") as file:
            line = file.readline(FIRST_BYTES)
    except FileNotFoundError:
        return ""
    return hashlib.sha256(line).hexdigest()[:16] if line.endswith(b"\n") or len(line) == FIRST_BYTES else ""


def wait_for_end(folder: Path, state: Mapping[str, Any]) -> None:
    """Until the supervisor that has said how the run ended is gone too, or has gone on with another run. Bounded."""
    deadline = time.monotonic() + ENDS_S
    while state.get("pid") in processes.tagged(folder) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def pause_s(cost_s: float, cores: float) -> float:
    """Until the next look at the files, when one takes so much of a core.

    >>> pause_s(0.0005, cores=8), pause_s(0.0003, cores=0.2)
    (0.2, 0.75)
    """
    return min(max(cost_s / (BURDEN * cores), POLL_S), SLOWEST_S)


def followed(folder: Path) -> list[str]:
    """Names of the files a viewer gets: events first, then each member's in the order in which they were opened."""
    found = [match for entry in os.scandir(folder) if (match := _RANK_FILE.fullmatch(entry.name))]
    found.sort(key=lambda match: (int(match[1]), match[3], int(match[2] or 0)))
    return ["events.jsonl", "coordinator.out", *(match[0] for match in found)]


def new_chunks(
    folder: Path,
    offsets: Mapping[str, int],
    *,
    whole: bool,
    borders: Mapping[str, int] | None = None,
    marks: MarksReader | None = None,
) -> Iterator[Chunk]:
    """What has been appended since the offsets, in whole lines; with `whole` the last line may lack its end. A chunk
    ends at the border of its file, where an earlier one had ended. `marks` know when lines of output were printed."""
    for name in followed(folder):
        start = offsets.get(name, 0)
        path = folder / name
        try:
            info = path.stat()
            if info.st_size <= start:
                continue
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            border = (borders or {}).get(name, 0)
            while data := os.pread(descriptor, min(CHUNK_BYTES, max(border - start, 0) or CHUNK_BYTES), start):
                end = len(data) if start + len(data) == border else data.rfind(b"\n") + 1
                if not end and (len(data) == CHUNK_BYTES or whole):
                    end = len(data)
                if not end:
                    break
                text = data[:end].decode(errors="replace")
                times = marks.times(name, start, data[:end]) if marks is not None and name.endswith(".out") else []
                yield Chunk(file=name, start=start, end=start + end, text=text, time=info.st_mtime, times=times)
                start += end
        finally:
            os.close(descriptor)
