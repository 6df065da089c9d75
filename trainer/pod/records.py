"""What a run tells in a pod, line by line on standard output, for `kubectl logs`: each line is a record of
`trainer.contract.wire`.

Events and what ranks measure are printed as they stand in their files; what ranks print comes as `Chunk`, which says
which file it is of, and from which byte: lines that come twice are known by that, and so is a gap.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from motley.trainer.contract.wire import encode
from motley.trainer.verbs.attach import new_chunks

AS_THEY_ARE = ".jsonl"


class Records:
    """Call `print_new` now and then, and once with `whole` at the end."""

    def __init__(self, folder: Path, stdout: BinaryIO | None = None) -> None:
        self._folder = folder
        self._stdout = stdout if stdout is not None else sys.stdout.buffer
        self._offsets: dict[str, int] = {}

    def print_new(self, *, whole: bool = False) -> None:
        """What has come since. With `whole` a last line may lack its end."""
        if not self._folder.is_dir():
            return
        for chunk in new_chunks(self._folder, self._offsets, whole=whole):
            self._offsets[chunk.file] = chunk.end
            if chunk.file.endswith(AS_THEY_ARE):
                lines = [line for line in chunk.text.splitlines() if line.strip()]
                self._stdout.write("".join(f"{line}\n" for line in lines).encode())
            else:
                self._stdout.write(encode(chunk))
        self._stdout.flush()
