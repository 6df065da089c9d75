"""Follow a run's files on a host: one process, one SSH channel, all files multiplexed from byte offsets.

`python -m trainer attach` reads one line `{"offsets": {file: byte}}`, then writes `wire.Chunk` lines as the files
grow and a `wire.Beat` about once a second. On a slow host it looks less often, to leave the cores to the training. It
ends when its standard input closes, or when the run has ended here and everything has been sent. It writes nothing on
the host, so any number of viewers may follow one run.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from profiles.cores import usable_cores
from trainer import processes
from trainer.folders import read_json
from trainer.wire import END_STATES, Beat, Chunk, encode

POLL_S, SLOWEST_S = 0.2, 1.0
BURDEN = 0.002  # of this host's cores that a viewer may take, as long as that leaves it a look a second
BEAT_S = 1.0
CHUNK_BYTES = 256 * 1024
_RANK_FILE = re.compile(r"rank_(\d+)(?:\.(\d+))?\.(jsonl|out)")


def attach(folder: Path, stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Serve one viewer. Returns 0 at the end of the run or of the viewer, 1 when there is no such run here."""
    offsets = dict(json.loads(stdin.readline())["offsets"])
    if not folder.is_dir():
        print(f"no run in {folder}", file=sys.stderr)
        return 1
    beat_due = 0.0
    cores = usable_cores()
    try:
        while True:
            looked = time.process_time()
            state = state_of(folder)  # before the files: what is written before the end state is sent before it
            ended = state.get("state") in END_STATES
            for chunk in new_chunks(folder, offsets, whole=ended):
                offsets[chunk.file] = chunk.end
                stdout.write(encode(chunk))
            now = time.monotonic()
            if ended or now >= beat_due:
                beat_due = now + BEAT_S
                stdout.write(encode(Beat(time=time.time(), state=state)))
            stdout.flush()
            if ended:
                return 0
            readable, _, _ = select.select([stdin], [], [], pause_s(time.process_time() - looked, cores))
            if readable and not os.read(stdin.fileno(), 4096):
                return 0
    except BrokenPipeError:
        return 0


def pause_s(cost_s: float, cores: float) -> float:
    """Until the next look at the files, when one takes so much of a core.

    >>> pause_s(0.0005, cores=8), pause_s(0.0003, cores=0.2)
    (0.2, 0.75)
    """
    return min(max(cost_s / (BURDEN * cores), POLL_S), SLOWEST_S)


def state_of(folder: Path) -> dict[str, Any]:
    """The supervisor's `state.json`; `state` is "lost" when the supervisor is gone without having ended the run."""
    state = read_json(folder / "state.json")
    if not state or state.get("state") in END_STATES:
        return state
    if processes.same_process(int(state["pid"]), int(state["start"]), str(state["boot_id"])):
        return state
    rebooted = state["boot_id"] != processes.boot_id()
    return {**state, "state": "lost", "cause": "the host was rebooted" if rebooted else "the supervisor was ended"}


def followed(folder: Path) -> list[str]:
    """Names of the files a viewer gets: events first, then each member's in the order in which they were opened."""
    found = [match for entry in os.scandir(folder) if (match := _RANK_FILE.fullmatch(entry.name))]
    found.sort(key=lambda match: (int(match[1]), match[3], int(match[2] or 0)))
    return ["events.jsonl", "coordinator.out", *(match[0] for match in found)]


def new_chunks(folder: Path, offsets: Mapping[str, int], *, whole: bool) -> Iterator[Chunk]:
    """What has been appended since the offsets, in whole lines; with `whole` the last line may lack its end."""
    for name in followed(folder):
        start = offsets.get(name, 0)
        path = folder / name
        try:
            if path.stat().st_size <= start:
                continue
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            while data := os.pread(descriptor, CHUNK_BYTES, start):
                end = data.rfind(b"\n") + 1
                if not end and (len(data) == CHUNK_BYTES or whole):
                    end = len(data)
                if not end:
                    break
                yield Chunk(file=name, start=start, end=start + end, text=data[:end].decode(errors="replace"))
                start += end
        finally:
            os.close(descriptor)
