"""What a batch costs one device of this host: a few seconds of real steps of the task, at a few batch sizes.

`python -m motley.trainer calibrate`: one line of JSON on standard input asks
(`trainer.contract.calibration.Calibration`), lines on standard output answer: `{"note": …}` while it works, `{"ready":
true}` when the measured steps begin, then one `{"result": …}` (what `profiles.store.Profile` holds) or `{"error":
cause, "remedy": …}`. It ends when stdin closes.

The steps are those of the training loop, in a group of one: samples fetched, forward and backward under DDP, weights
updated; of a script with a `motley.session()` they are its own (`trainer.trials`). They are done in a child
(`trainer.verbs.attended_child`), which is slowed as a rank is where the host is emulated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TextIO

from motley.profiles.hardware import probe
from motley.profiles.store import Timing
from motley.trainer.contract.calibration import Calibration
from motley.trainer.devices.names import is_gpu
from motley.trainer.errors import SessionError
from motley.trainer.trials.measured_sizes import affordable, sizes
from motley.trainer.trials.own_folder import own_folder
from motley.trainer.trials.pass_room import UNKNOWN, Peaks, room_by_peaks, room_for_longest
from motley.trainer.trials.script_process import ScriptProcess
from motley.trainer.trials.script_steps import ScriptSteps
from motley.trainer.trials.script_trial import share_of
from motley.trainer.trials.timed_threads import Steps, choose_threads
from motley.trainer.verbs.attended_child import Say, asked_on, in_child, result_of, saying

if TYPE_CHECKING:
    import torch

ROUNDS, BLOCK = 30, 3  # each size takes its turn in every round, so that all meet the same disturbances
LEAST_ROUNDS = 2
SESSION_S = 120.0  # from the start of a script to its motley.session()


class Bench(Steps, Peaks, Protocol):
    """What can do steps, and knows what it trains and how much memory there is for it."""

    parameters: int
    gradient_bytes: int


def calibrate(stdin: BinaryIO, stdout: TextIO) -> int:
    """The verb. 0 with a result, 1 without."""
    say = saying(stdout)
    asked = asked_on(stdin, say)
    if asked is None:
        return 1
    if asked.child:
        return result_of(asked, measure if asked.script is None else measure_loop)
    with own_folder() if asked.script is not None else nullcontext("") as folder:
        return in_child("calibrate", replace(asked, folder=str(folder)), stdin, stdout, what="measuring")


def timings(bench: Steps, batches: Sequence[int], budget_s: float, clock: Callable[[], float]) -> list[Timing]:
    """Rounds of short blocks, every size in turn, until the time is used up; two rounds at least."""
    compute: dict[int, list[float]] = {size: [] for size in batches}
    whole: dict[int, list[float]] = {size: [] for size in batches}
    began = clock()
    for done in range(ROUNDS):
        if done >= LEAST_ROUNDS and (clock() - began) * (done + 1) / done > budget_s:
            break
        for size in batches:
            bench.step(size)  # the first of its size after another: caches
            for _ in range(BLOCK):
                compute_ms, step_ms = bench.step(size)
                compute[size].append(compute_ms)
                whole[size].append(step_ms)
    return [Timing.of(size, compute[size], whole[size]) for size in batches]


def measure(asked: Calibration, say: Say) -> dict[str, Any]:
    """Raises TrainerError without the device, the task's data or room for one sample, RuntimeError as torch does."""
    import torch
    import torch.distributed as dist

    from motley.trainer.optimize.device import use_devices
    from motley.trainer.training.emulated_speed import slowdown_of
    from motley.trainer.verbs.asked_task import data_of, task_of
    from motley.trainer.verbs.timed_steps import TimedSteps

    device, *beside = use_devices(asked.device)
    say({"note": "loading data"})
    task = task_of(asked, say)
    data = data_of(asked, task, device, say)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        slowdown = slowdown_of(asked.speed, asked.speeds, device)
        bench = TimedSteps(asked.options, task, data, device, slowdown, beside=beside)
        say({"note": "warming up"})
        share, batch = min(asked.share or asked.batch, data.train_size), min(asked.batch, data.train_size)
        threads = choose_threads(asked, bench, share, say, apply=torch.set_num_threads)
        figures = _figures(asked, bench, batch, say)
        if data.lengths is not None:  # a pass takes memory for its longest sample: how many of these fit is tried
            figures |= room_for_longest(bench, batch) if is_gpu(asked.device) else UNKNOWN
        name = " + ".join(map(_name, (device, *beside)))
        return {"device_name": name, "torch": torch.__version__, "global_batch": None, **threads, **figures}
    finally:
        dist.destroy_process_group()


def measure_loop(asked: Calibration, say: Say) -> dict[str, Any]:
    """As `measure`, of the steps of a script's own loop, in which nobody computes but the script.

    Raises TrainerError for a script without one, or that fails.
    """
    assert asked.script is not None
    with ScriptProcess(asked, asked.script) as running:
        say({"note": f"{asked.script.name} starts"})
        if running.hear(SESSION_S) is None:
            if running.code:
                raise SessionError(*running.what_failed())
            remedy = "Only a loop of Motley's can be measured: docs/own-loop.md says how"
            raise SessionError(f"{asked.script.name} has not called motley.session()", remedy)
        bench = ScriptSteps(running)
        say({"note": "warming up"})
        share, loop = share_of(asked, bench.batch), bench.loop
        threads = choose_threads(asked, bench, share, say, apply=bench.set_threads, given=loop.threads)
        figures = _figures(asked, bench, bench.batch, say)
    name = loop.device_name or probe(Path("/")).cpu_model
    return {"device_name": name, "torch": loop.torch, "global_batch": loop.global_batch, **threads, **figures}


def _figures(asked: Calibration, bench: Bench, batch: int, say: Say) -> dict[str, Any]:
    """Of steps up to `batch` samples, with the number of threads that is in place."""
    batches = affordable(bench, sizes(batch, asked.max_batch), asked.budget_s, steps=LEAST_ROUNDS * (BLOCK + 1))
    say({"ready": True, "note": f"measuring steps of {', '.join(map(str, batches))} samples"})
    found = timings(bench, batches, asked.budget_s, time.monotonic)
    return {
        "timings": [
            {"batch": t.batch, "compute_ms": t.compute_ms, "step_ms": t.step_ms, "noise": t.noise, "steps": t.steps}
            for t in found
        ],
        "parameters": bench.parameters,
        "gradient_bytes": bench.gradient_bytes,
        **(room_by_peaks(bench, batches) if is_gpu(asked.device) else UNKNOWN),
    }


def _name(device: torch.device) -> str:
    if is_gpu(str(device)):
        from motley.trainer.devices import accelerator

        return accelerator.name_of(device)
    return probe(Path("/")).cpu_model
