"""A step that a host says it has computed again: whatever it says, it is compared and told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from motley.console.report.recorded_step import RecordedGradient, RecordedStep
from motley.console.report.verification import compared, lines_of
from motley.remote.errors import UsageError
from motley.remote.launch.trainer_conversation import trainer
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.step_on_host import Given, _conversation

NORMS = RecordedGradient(tensors=1, norms=(1.0,), projections=(0.5, -0.5), seed=1)
STEP = RecordedStep(step=7, loss=0.3, gradient=NORMS, parts=((0, 8),), steps_per_epoch=9)


async def verified(verbs: Verbs, say: Callable[[str], object]) -> list[str]:
    async def brought(_: Path) -> Given:
        raise UsageError("no checkpoint is anywhere")

    async with trainer(verbs, "box1", "verify") as process:
        asked = {"checkpoints": [["step_6.pt", "00"]]}
        done = await _conversation(process, "box1", asked, brought, say)
    return lines_of(compared("night", str(done.checkpoint), STEP, done.answer, limit=1e-4, limit_of="a test"))
