"""What the end of a process on this host means: what is said of it, whether it starts again, how the run ended here.

Pure; `trainer.supervisor.supervisor` acts on it.

>>> how_it_ended(-9, starved=True), pause_before_restart(-9, started=2), pause_before_restart(1, started=1)
('ended by signal 9, and the kernel was out of memory', 2.0, None)
"""

from __future__ import annotations

import signal
from collections.abc import Collection

from motley.trainer.contract.wire import RunState
from motley.trainer.host.exit_codes import Exit

STARTS, AGAIN_S = 4, 1.0  # of what something kills: how often at most in a row, and a rank's first pause
NOT_STOPPED: tuple[RunState, ...] = ("finished", "failed", "lost")
LIVED_S = 60.0  # a rank that has lived for so long was no attempt in vain


def how_it_ended(code: int, *, starved: bool) -> str:
    """In words. `starved`: the kernel has ended processes for want of memory since the run began."""
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}, and the kernel was out of memory" if code == -signal.SIGKILL and starved else how


def is_killed(code: int) -> bool:
    """Something ended it, or it hung: it did not fail by itself."""
    return code < 0 or code == Exit.STUCK


def pause_before_restart(code: int, *, started: int) -> float | None:
    """Seconds until a rank that was `started` so often in a row comes back; None when it does not."""
    return AGAIN_S * 2 ** (started - 1) if is_killed(code) and started < STARTS else None


def is_root_cause(code: int) -> bool:
    """Else it ended because of others."""
    return code not in (Exit.PEER_LOST, Exit.GAVE_UP)


def state_by(codes: Collection[int | None], said: object = None) -> RunState:
    """How a run that was not asked to stop has ended on this host, by the exit codes of all ranks here.

    `said`: by the summary, on the host that leads. Ranks that hang when all is over, as gloo may make them, are told to
    leave, and their codes say no more than that.
    """
    found = set(codes)
    if found <= {0, Exit.STOPPED}:
        return "finished" if found <= {0} else next((state for state in NOT_STOPPED if state == said), "stopped")
    return "lost" if found <= {0, Exit.PEER_LOST} else "failed"
