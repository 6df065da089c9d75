"""Steps of a user's own loop, as many and as large as somebody wants: what its `motley.session()` does for whoever has
started the script. Standard library only.

>>> bench = ScriptSteps(running)
>>> bench.batch, bench.step(64)      # time to the last local gradient, and of the whole step
(256, (31.2, 33.0))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from motley.trainer.errors import OutOfMemory, SessionError
from motley.trainer.trials.script_process import ScriptProcess

LOOP_S = 150.0  # from motley.session() to the loop: data is read meanwhile
STEP_S = 120.0
MEND = "Mend it, and try again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What a script says of its loop when it begins. `threads`: what it has set by itself; None on a GPU, too."""

    samples: int  # of the dataset
    global_batch: int
    parameters: int
    gradient_bytes: int
    device_name: str
    torch: str
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of a GPU, in MiB."""

    peak: float  # allocated in the step
    reserved: float  # at most, by the script's process
    room: float  # for it, with what it has
    total: float


class ScriptSteps:
    """`batch`: the most samples that a step can have."""

    def __init__(self, running: ScriptProcess) -> None:
        """Wait for the loop of a script that has called `motley.session()`. Raises SessionError when it has none."""
        self._running = running
        self.loop = Loop(**self._heard(LOOP_S, "its loop over run.steps")["loop"])
        self.batch = min(self.loop.global_batch, self.loop.samples)
        self.parameters, self.gradient_bytes = self.loop.parameters, self.loop.gradient_bytes
        self.memory: Memory | None = None  # after the newest step, on a GPU

    def step(self, batch: int) -> tuple[float, float]:
        """Raises OutOfMemory when the batch does not fit, SessionError for a script that ends in it."""
        self._running.tell(batch=batch)
        answer = self._heard(STEP_S, f"a step of {batch} samples")
        if "out_of_memory" in answer:
            raise OutOfMemory(f"{batch} samples do not fit into its memory", "Take fewer at once: step.parts(rows=…)")
        memory = answer["memory"]
        self.memory = Memory(**memory) if memory is not None else None
        return float(answer["compute_ms"]), float(answer["step_ms"])

    def warm_up(self, batch: int, steps: int) -> bool:
        """Steps that are not measured. False when the batch does not fit."""
        try:
            for _ in range(steps):
                self.step(batch)
        except OutOfMemory:
            return False
        return True

    def set_threads(self, count: int) -> None:
        self._running.tell(threads=count)

    def peak_mib(self, batch: int) -> float:
        """The most memory allocated on a GPU during a step."""
        self.step(batch)
        return self.memory.peak if self.memory is not None else 0.0

    def room_mib(self) -> float:
        """What there is of a GPU's memory for the script, with what it has."""
        return self.memory.room if self.memory is not None else 0.0

    def _heard(self, within_s: float, what: str) -> dict[str, Any]:
        answer = self._running.hear(within_s)
        if answer is not None:
            return answer
        if self._running.code:
            raise SessionError(*self._running.what_failed())
        if self._running.code == 0:
            raise SessionError(f"the script ended before {what}", "Look at what it does after motley.session()")
        raise SessionError(f"{what} took longer than {within_s:g} s", "The machine may be overloaded; try again")
