"""Every window of steps: the ranks tell rank 0 what they measured, it decides on the shares, all follow.

`trainer.training.loop` calls it after each step, and nobody waits for it there: what is sent is
`trainer.training.window_exchange`'s, what is decided `trainer.balance.balancer`'s.

    >>> exchange(job)       # whether to let go of the group
    False
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motley.trainer.training.job import LoopState


def exchange(job: LoopState, *, last: bool = False) -> bool:
    """Rank 0 learns what all measured, decides on the shares; all follow. Returns whether to let go of the group.

    Each step takes this one stage further (`trainer.training.window_exchange`); the run's last step takes it to its
    end.
    """
    leave, window = next_stage(job, last=last), job.window
    # Between two averages of local SGD nobody may wait for the others, so there all of it is done at once.
    while (last and len(window)) or ((last or job.apart is not None) and window.on_its_way):
        leave = next_stage(job, last=last)
    return leave and not last


def next_stage(job: LoopState, *, last: bool) -> bool:
    window = job.window
    if window.answering:
        job.shares, leave = window.answered()
        if leave:
            job.progress.boundary = False
        return leave
    if window.gathering:
        window.answer(consult(job, last=last), job.rank == 0 and job.progress.boundary)
    elif len(window) >= job.balancer.window or (last and len(window)):
        job.budget.look()
        window.gather()
    return False


def consult(job: LoopState, *, last: bool) -> tuple[int, ...]:
    """On rank 0: what all measured, told to the world; the shares that hold once all have heard of them."""
    rows = job.window.gathered()
    if job.rank != 0:
        return job.shares
    job.recorder.report(job, rows, step=job.step - len(job.window))
    return job.balancer.decide(job.step + 1, rows, job.shares, last=last)
