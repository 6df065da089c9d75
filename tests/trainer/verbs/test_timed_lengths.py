"""Steps measured without a run, of a task whose samples differ in length and cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import OutOfMemory
from motley.trainer.training.emulated_speed import slowdown_of
from motley.trainer.verbs.timed_steps import TimedSteps
from tests.trainer.ranks import run_ranks
from tests.trainer.training.test_work_ranks import Small

pytestmark = pytest.mark.ranks

CPU = torch.device("cpu")


def timed(room: int) -> tuple[TimedSteps, Small]:
    task, options = Small(room=room), RunOptions(task="rows.py", global_batch=12)
    data = TaskData.of(task, seed=0)
    return TimedSteps(options, task, data, CPU, slowdown_of(None, 1.0, CPU)), task


def measured(rank: int, world_size: int, _given: dict[str, Any]) -> dict[str, Any]:
    del rank, world_size
    plenty, task = timed(10**9)
    longest = int(task.lengths().max())
    found: dict[str, Any] = {"all": plenty.longest_that_fit(12), "tried": list(task.passes), "longest": longest}
    task.passes.clear()
    plenty.step(8)
    found["limit"] = plenty.pass_limit
    found["tokens"] = sum(rows * length for rows, length in task.passes)
    small, task = timed(5 * longest)
    found["some"] = small.longest_that_fit(12)
    found["fits"] = [small.warm_up(2, 1), small.warm_up(40, 1)]
    small.step(40)
    found["then"] = small.pass_limit
    tiny, _ = timed(longest - 1)
    with pytest.raises(OutOfMemory) as caught:
        tiny.longest_that_fit(12)
    found["said"] = str(caught.value)
    return found


def test_the_longest_sample_is_tried_once_twice_and_so_on_until_memory_runs_out() -> None:
    (found,) = run_ranks(1, measured, {})
    longest = found["longest"]
    assert (found["all"], found["limit"]) == (12, None)
    assert found["tried"] == [(times, longest) for times in (1, 2, 4, 8, 12)]
    assert found["some"] == 4
    assert found["fits"] == [True, False]
    assert 1 <= found["then"] <= 5  # samples of the longest, of a pass as it was halved
    assert f"one sample of length {longest} does not fit" in found["said"]
