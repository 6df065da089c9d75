"""What the kernel tells of a process that may end at any moment.

>>> process_file(4021, "cmdline")
b'python\\0-m\\0motley.trainer\\0'
"""

from __future__ import annotations

from pathlib import Path


def process_file(pid: int, name: str) -> bytes:
    """A file of its folder in /proc; empty when it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def cmdline(pid: int) -> bytes:
    """Its words, each ended by a zero byte."""
    return process_file(pid, "cmdline")
