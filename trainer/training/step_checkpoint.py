"""A checkpoint within an epoch: every so many steps or minutes, or because somebody asks. Called between steps.

>>> checkpoint_if_due(job)

Rank 0 writes it at the end of a step, and nobody else takes part: the others meet it in the next step. With BatchNorm
it holds the statistics of rank 0. Ranks that train apart (`run.local_steps`) have a common state at an average only:
there it waits for the next one.
"""

from __future__ import annotations

import time

from motley.trainer.training.job import LoopState


def checkpoint_if_due(job: LoopState) -> None:
    """Its time is no part of a step's. The last step's is `final.pt`, unless somebody asks for one."""
    if job.rank != 0 or (job.apart is not None and job.apart.steps):
        return
    asked = tuple(dict.fromkeys(job.progress.asked))
    why = "asked" if asked else job.schedule.due(job.step) if job.step < job.steps_total else ""
    if not why:
        return
    began = time.perf_counter()
    job.recorder.checkpoint(job, f"step_{job.step}", why=why, asked=asked)
    job.step_end += time.perf_counter() - began
