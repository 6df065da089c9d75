"""Lines of a file that another process writes to, perhaps just now.

>>> whole_lines(Path("events.jsonl"))
['{"kind": "group"}', '{"kind": "lost"}']
"""

from __future__ import annotations

from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """Those that have come to their end: of a line that is being written only its beginning may be there. Without their
    ends; none when there is no such file."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [line.decode(errors="replace") for line in lines]
