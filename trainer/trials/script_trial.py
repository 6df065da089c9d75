"""A script of the user's own, tried by itself: whether it works on this host. Standard library only.

Of one that calls `motley.session()` a few steps are done and timed. Any other is let run for a while, and ended when
its time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.script import Script
from motley.trainer.errors import TrainerError
from motley.trainer.trials.script_process import ScriptProcess
from motley.trainer.trials.script_steps import ScriptSteps

Say = Callable[[dict[str, Any]], None]


def script_ran(asked: Calibration, script: Script, say: Say) -> int:
    """0 when it worked; 1 when it failed, which is said with its file and line."""
    with ScriptProcess(asked, script) as running:
        say({"note": f"{script.name} runs"})
        if running.hear(asked.run_s) is not None:
            try:
                say({"result": _steps(asked, running, say)})
            except TrainerError as error:
                say({"error": error.cause, "remedy": error.remedy})
                return 1
            return 0
        code, seconds = running.code, time.monotonic() - running.began
        running.end()
        if code:
            cause, remedy = running.what_failed()
            say({"error": cause, "remedy": remedy})
            return 1
        figures = {"seconds": seconds, "ended": code == 0, "memory_mib": running.memory_mib()}
        say({"result": {"steps": None, **figures}})
        return 0


def _steps(asked: Calibration, running: ScriptProcess, say: Say) -> dict[str, Any]:
    """Raises TrainerError when they can't be done."""
    bench = ScriptSteps(running)
    samples = share_of(asked, bench.batch)
    say({"note": f"{asked.steps} steps of {samples} samples"})
    took_ms = [bench.step(samples)[1] for _ in range(asked.steps)]
    memory = bench.memory
    running.end()
    return {
        "steps": asked.steps,
        "samples": samples,
        "first_ms": took_ms[0],
        "step_ms": took_ms[-1],
        "pass_limit": None,
        "memory_mib": running.memory_mib() if memory is None else round(memory.reserved),
        "total_mib": None if memory is None else round(memory.total),
    }


def share_of(asked: Calibration, batch: int) -> int:
    """This device's part of a step of `batch` samples, as the script says it, where cluster.toml may say another."""
    return max(1, min(batch, batch * (asked.share or asked.batch) // asked.batch))
