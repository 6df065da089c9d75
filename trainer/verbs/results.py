"""The verb `results`: sends what a script has written home, as it settles, until the run is over here.

It reads one line, `{"have": {path: [size, mtime_ns]}, "most": bytes}`: what the other side has, and how much that may
become. Then it writes the frames of `trainer.results.send`, and ends with the run, or when its standard input closes.
It writes nothing on the host. With `once` it only tells what the other side lacks:
`{"op": "lacks", "count": 3, "bytes": 812, "paths": ["out/a.txt", …]}`, of the paths the first five.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from motley.trainer.contract.result_patterns import Patterns
from motley.trainer.contract.wire import END_STATES
from motley.trainer.host.run_state import state_of
from motley.trainer.results.send import BEAT_S, Sender, patterns_of, pause_s, write
from motley.trainer.verbs.attach import wait_for_end


def results(folder: Path, stdin: BinaryIO, stdout: BinaryIO, *, once: bool = False) -> int:
    """Serve one that brings them home. Returns 0 at the end of the run or of the other side, 1 for no such run here."""
    asked: dict[str, Any] = json.loads(stdin.readline())
    have = {str(path): (int(size), int(mtime)) for path, (size, mtime) in asked["have"].items()}
    if not folder.is_dir():
        print(f"no run in {folder}", file=sys.stderr)
        return 1
    patterns = Patterns(patterns_of(folder))
    sender = Sender(folder, patterns, have, int(asked["most"]))
    os.nice(5)  # the ranks come first
    try:
        if once:
            lacks = sender.lacking()
            total = sum(lacks.values())
            write(stdout, op="lacks", count=len(lacks), bytes=total, paths=sorted(lacks)[:5])
            stdout.flush()
            return 0
        for over in _looks(folder, stdin, stdout):
            sender.look(stdout, over=over)
        write(stdout, op="end")
        stdout.flush()
    except (BrokenPipeError, EOFError):
        pass
    return 0


def _looks(folder: Path, stdin: BinaryIO, stdout: BinaryIO) -> Iterator[bool]:
    """Each moment at which to look, and whether the run is over here by then. Raises EOFError when nobody reads."""
    while True:
        state = state_of(folder)
        over = state.get("state") in END_STATES
        if over:
            wait_for_end(folder, state)
        began = time.process_time()
        yield over
        if over:
            return
        due = time.monotonic() + pause_s(time.process_time() - began)
        while (left := due - time.monotonic()) > 0:
            write(stdout, op="beat")
            stdout.flush()
            readable, _, _ = select.select([stdin], [], [], min(left, BEAT_S))
            if readable and not os.read(stdin.fileno(), 4096):
                raise EOFError
