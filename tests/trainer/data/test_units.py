"""What a task counts besides samples is held to what it is to be, with an error that says where and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from motley.trainer.data.task_data import TaskData
from motley.trainer.data.units import units_of
from motley.trainer.errors import TaskError
from motley.trainer.tasks.task import Task

LENGTHS = torch.tensor([5, 0, 7])


class Counting(Task):
    def __init__(self, told: Any) -> None:
        super().__init__()
        self.told = told

    def train_data(self) -> Any:
        return (torch.zeros(3, 2),)

    def units(self) -> Any:
        return self.told


def test_units_of_samples_add_up() -> None:
    units = TaskData.of(Counting(("tokens", LENGTHS.to(torch.int32))), seed=0).units
    assert units is not None
    assert (units.name, units.of(torch.tensor([2, 0, 2])), units.of(LENGTHS[:0])) == ("tokens", 19, 0)
    assert TaskData.of(Counting(None), seed=0).units is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (LENGTHS, "gives a Tensor"),
        (("tokens", LENGTHS, 1), "gives a tuple"),
        (("samples", LENGTHS), "names its unit 'samples'"),
        (("To\x1bkens", LENGTHS), "names its unit"),
        (("t" * 500, LENGTHS), "names its unit"),
        ((3, LENGTHS), "names its unit 3"),
        (("tokens", [5, 0, 7]), "gives counts that are list for 3 samples"),
        (("tokens", LENGTHS[:2]), r"torch.int64, \(2,\) for 3 samples"),
        (("tokens", LENGTHS.float()), "torch.float32"),
        (("tokens", -LENGTHS), "counts fewer than no tokens"),
    ],
)
def test_what_is_no_count_is_an_error(told: Any, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        units_of(Counting(told), 3)
