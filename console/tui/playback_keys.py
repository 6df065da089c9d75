"""What the keys of a replay do: the app adds them to its own."""

from __future__ import annotations

from collections.abc import Callable

from motley.console.control.session_protocol import PlaybackLike

SEEK = 0.05  # of the run


def playback_keys(playback: PlaybackLike | None, digit: int) -> dict[str, Callable[[], object]]:
    """By action. `digit`: of the key that was pressed, where it is one."""
    if playback is None:
        return {}
    return {
        "pause": playback.pause,
        "step": playback.step,
        "step_back": playback.step_back,
        "forward": lambda: playback.seek(SEEK),
        "rewind": lambda: playback.seek(-SEEK),
        "faster": lambda: playback.change_speed(2.0),
        "slower": lambda: playback.change_speed(0.5),
        "jump": lambda: playback.jump(digit / 10),
    }
