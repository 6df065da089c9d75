"""What rank 0 says when a group is formed: what the run is about to do, in which precision, and what surprises."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from motley.trainer.contract.backend import could_be_quicker
from motley.trainer.contract.spec import Member
from motley.trainer.contract.wire import Level
from motley.trainer.errors import TrainerError
from motley.trainer.host.journal import Journal
from motley.trainer.optimize.precision import Precision, abilities, agreed
from motley.trainer.training.batchnorm import has_batchnorm
from motley.trainer.training.job import Job


def began(job: Job, journal: Journal, members: Sequence[Member]) -> None:
    """What the run's first group is about to do, said by rank 0. `members`: all of the run.

    Raises TrainerError when there is nothing to do.
    """
    options = job.options
    if job.step >= job.steps_total:
        raise TrainerError(
            f"the checkpoint is at step {job.step}, and the run ends at step {job.steps_total}",
            "Raise run.epochs or run.steps to go on",
        )
    job.recorder.began(job)
    if job.rank == 0:
        if quicker := could_be_quicker(options.backend, members):
            text = (
                f"gloo carries the gradients, since the GPUs are on several hosts; backend = '{quicker}' is quicker, "
                "where a host that is lost may end the run"
            )
            journal.write("note", text)
        if has_batchnorm(job.model) and job.world_size > 1:
            text = "BatchNorm sees each rank's samples alone, so the split matters a little; norm = 'group' is exact"
            journal.write("note", text, "warning")
        if options.dropout and job.world_size > 1:
            text = "what dropout leaves out of a sample depends on its rank, so the split matters a little"
            journal.write("note", text, "warning")
        if job.apart is not None:
            text = (
                f"local_steps = {options.local_steps}: ranks train apart for so many steps at a time, so the loss is "
                "not that of one machine, and it depends on the hosts and their shares"
            )
            journal.write("note", text, "warning")


def agree_on_precision(
    asked: str, device: torch.device, before: Precision, journal: Journal | None, *, step: int
) -> Precision:
    """What this group computes in. Told on rank 0, which has the `journal`, where it is not what it was `before`."""
    if asked == "fp32":
        return agreed(asked, ())
    found = agreed(asked, abilities(device))
    if journal is not None and found != before:
        text = f"precision: {found.name} from step {step} on: {found.why}"
        level: Level = "warning" if found.name != asked and asked != "auto" else "info"
        journal.write("precision", text, level, step=step, asked=asked, precision=found.name, why=found.why)
    return found
