"""Commands whose process may become another one of ours: with room for what /proc shows (`trainer.host.process_title`).

>>> with_room(["python3", "-m", "motley.trainer", "supervise"], MOTLEY_RUN="night")
['env', 'MOTLEY_RUN=night', 'PYTHONUNBUFFERED=1', 'MOTLEY_ROOM=...', 'python3', ..., '--room', '...']
"""

from __future__ import annotations

from collections.abc import Sequence

ROOM_BYTES, ROOM_WORD = 4096, 512  # for the environment and the words of a rank, and of a run with a longer name


def with_room(argv: Sequence[str], **env: str) -> list[str]:
    """The command with these variables. Ranks want PYTHONUNBUFFERED, which is read at the very start of a Python."""
    variables = {**env, "PYTHONUNBUFFERED": "1", "MOTLEY_ROOM": "." * ROOM_BYTES}
    return ["env", *(f"{name}={value}" for name, value in variables.items()), *argv, "--room", "." * ROOM_WORD]
