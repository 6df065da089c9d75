"""What a run tells in a pod, line by line on standard output, for `kubectl logs`: each line is a record of
`trainer.contract.wire`, and says besides which it is.

| in each line | is |
|---|---|
| `"line"` | its number, from 0 in each pod: lines that come twice are known by it, and so is a gap |
| `"file"`, `"start"` | of an event and of what a rank measures: the file of the run that has it, and at which byte |

What ranks print comes as `Chunk`, which has its place of itself. `Beat` has the state of the run in this pod: when that
changes, and when nothing else was told for a while. The last lines are the summary, of the pod that leads, as a Chunk
of `summary.json`, and the state at the end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from motley.trainer.contract.wire import END_STATES, Beat, Chunk, Record, encode
from motley.trainer.host.paths import read_json
from motley.trainer.verbs.attach import new_chunks

AS_THEY_ARE = ".jsonl"
SUMMARY = "summary.json"
SIGN_S = 10.0  # without a line, until one says that the pod is there


class Records:
    """Call `print_new` now and then, and once with `whole` at the end."""

    def __init__(self, folder: Path, stdout: BinaryIO | None = None) -> None:
        self._folder = folder
        self._stdout = stdout if stdout is not None else sys.stdout.buffer
        self._offsets: dict[str, int] = {}
        self._line = 0
        self._state: Any = None  # as it was told last
        self._told_at = time.monotonic()

    def say(self, record: Record) -> None:
        """A word of the pod itself, which is in no file."""
        self._print(encode(record))
        self._stdout.flush()

    def print_new(self, *, whole: bool = False) -> None:
        """What has come since. With `whole` a last line may lack its end, and the summary and the state follow."""
        if not self._folder.is_dir():
            return
        state = read_json(self._folder / "state.json")  # before the files: what was written before it is told before it
        for chunk in new_chunks(self._folder, self._offsets, whole=whole):
            self._offsets[chunk.file] = chunk.end
            for line in lines_of(chunk):
                self._print(line)
        if whole:
            self._print_summary()
        over = state.get("state") in END_STATES
        silent = time.monotonic() - self._told_at >= SIGN_S
        if whole or silent or (state.get("state") != self._state and not over):
            self._state = state.get("state")
            self._print(encode(Beat(time=time.time(), state=state)))
        self._stdout.flush()

    def _print_summary(self) -> None:
        try:
            content = (self._folder / SUMMARY).read_bytes()
        except OSError:
            return
        if content:
            text = content.decode(errors="replace")
            self._print(encode(Chunk(file=SUMMARY, start=0, end=len(content), text=text)))

    def _print(self, line: bytes) -> None:
        """An encoded record, or a line as it stands in a file, and with `lines_of` where."""
        self._stdout.write(b'%b,"line":%d}\n' % (line.rstrip()[:-1], self._line))
        self._line += 1
        self._told_at = time.monotonic()


def lines_of(chunk: Chunk) -> Iterator[bytes]:
    """Records of our own as they are, with their place; what is no whole record, and what ranks print, as a Chunk."""
    if not chunk.file.endswith(AS_THEY_ARE) or "\ufffd" in chunk.text:
        yield encode(chunk)
        return
    start = chunk.start
    for line in chunk.text.encode().splitlines(keepends=True):
        if line.startswith(b'{"') and line.endswith(b"}\n"):
            yield b'%b,"file":"%b","start":%d}' % (line[:-2], chunk.file.encode(), start)
        else:
            yield encode(Chunk(file=chunk.file, start=start, end=start + len(line), text=line.decode()))
        start += len(line)
