"""Whether a run's own task works on a device of this host, alone: it is made, and a few real steps of it are done.

`python -m motley.trainer trial` is asked as `trainer.verbs.calibrate` is, and answers in the same way: notes, then
`{"result": …}` with what the steps took, or `{"error", "remedy"}`. It ends when stdin closes, with all that it has
started. `trainer.trials.script_trial` has the part of scripts.

The steps are those of the training loop in a group of one, of as many samples as this device may get, with one batch of
the test data after them: a mistake in a loss, a sample or a metric shows before a run has begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from motley.trainer.contract.calibration import Calibration
from motley.trainer.devices.names import is_gpu
from motley.trainer.trials.own_folder import own_folder
from motley.trainer.verbs.attended_child import Say, asked_on, in_child, result_of, saying

if TYPE_CHECKING:
    import torch

    from motley.trainer.tasks.task import Task

EVAL_SAMPLES = 64


def trial(stdin: BinaryIO, stdout: TextIO) -> int:
    """The verb. 0 with a result, 1 without."""
    asked = asked_on(stdin, saying(stdout))
    if asked is None:
        return 1
    if asked.child and asked.script is not None:
        from motley.trainer.trials.script_trial import script_ran

        return script_ran(asked, asked.script, saying(stdout))
    if asked.child:
        return result_of(asked, tried)
    what = "the trial"
    if asked.script is None:
        return in_child("trial", asked, stdin, stdout, what=what)
    with own_folder() as folder:
        return in_child("trial", dataclasses.replace(asked, folder=str(folder)), stdin, stdout, what=what)


def tried(asked: Calibration, say: Say) -> dict[str, Any]:
    """Raises TrainerError without the device, the task, its data or room for one sample, RuntimeError as torch does."""
    from motley.trainer.optimize.device import use_devices
    from motley.trainer.verbs.asked_task import data_of, task_of

    if not asked.steps:
        task_of(asked, say)
        return {"steps": 0}
    import torch.distributed as dist

    from motley.trainer.training.emulated_speed import slowdown_of
    from motley.trainer.verbs.timed_steps import TimedSteps

    device, *beside = use_devices(asked.device)
    say({"note": "loading data"})
    task = task_of(asked, say)
    memory = _expected(asked, task, (device, *beside))
    if memory:
        say({"note": memory["fits"]})
    data = data_of(asked, task, device, say)
    samples = min(asked.share or asked.batch, data.train_size)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        slowdown = slowdown_of(asked.speed, asked.speeds, device)
        bench = TimedSteps(
            asked.options, task, data, device, slowdown, accumulate=asked.options.accumulate, beside=beside
        )
        if data.longest is not None:
            say({"note": f"a pass of the longest sample: {data.longest:,}"})
            bench.longest_that_fit(1)
        say({"note": f"{asked.steps} steps of {samples} samples"})
        took_ms = [bench.step(samples)[1] for _ in range(asked.steps)]
        bench.evaluate(EVAL_SAMPLES)
        return {
            "steps": asked.steps,
            "samples": samples,
            "first_ms": took_ms[0],
            "step_ms": took_ms[-1],
            "pass_limit": bench.pass_limit,
            **_memory((device, *beside)),
            **memory,
        }
    finally:
        dist.destroy_process_group()


def _expected(asked: Calibration, task: Task, devices: Sequence[torch.device]) -> dict[str, Any]:
    """Of a language model, before it is loaded: what fits, and MiB for one of the longest rows. Empty of others."""
    if asked.own_task is None or not asked.own_task.module.startswith("motley.trainer.llm."):
        return {}
    from motley.trainer.llm.memory import expected

    found = expected(task, asked.options, devices[0], beside=devices[1:], ranks=asked.devices)
    return {} if found is None else {"fits": found.told, "expected_mib": found.mib, "length": found.length}


def _memory(devices: Sequence[torch.device]) -> dict[str, int | None]:
    """MiB: the most that was in use, of a GPU's memory or of this process, and what there is of a GPU's; of several
    cards together."""
    if is_gpu(str(devices[0])):
        from motley.trainer.devices import accelerator

        used, total = sum(map(accelerator.peak_reserved_bytes, devices)), sum(map(accelerator.total_bytes, devices))
        return {"memory_mib": used >> 20, "total_mib": total >> 20}
    return {"memory_mib": peak_mib(Path("/proc/self/status").read_text()), "total_mib": None}


def peak_mib(status: str) -> int:
    """Of a process, from /proc/PID/status.

    >>> peak_mib("VmPeak:\\t  9000 kB\\nVmHWM:\\t    4096 kB\\n")
    4
    """
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) >> 10
