"""What a task says of its samples: taken as it is, compared between hosts, and refused by name where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from motley.trainer.contract.data_fingerprint import DataFingerprint, difference, told
from motley.trainer.data.sample_costs import typical
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import DataError
from motley.trainer.tasks.task import Task


class Rows(Task):
    def __init__(self, work: Any = None, lengths: Any = None) -> None:
        super().__init__()
        self._work, self._lengths = work, lengths

    def train_data(self) -> Any:
        return torch.arange(4.0), torch.arange(4)

    def work(self) -> Tensor | None:
        return self._work  # type: ignore[no-any-return]

    def lengths(self) -> Tensor | None:
        return self._lengths  # type: ignore[no-any-return]


def test_what_a_task_says_is_asked_once_and_counted_in_int64() -> None:
    data = TaskData.of(Rows(torch.tensor([9, 1, 4, 4], dtype=torch.int32), torch.tensor([3, 1, 2, 2])), seed=0)
    assert data.work is not None
    assert (data.work.dtype, data.work.tolist()) == (torch.int64, [9, 1, 4, 4])
    assert data.longest == 3
    assert data.lengths_of(torch.tensor([2, 0])) == [2, 3]


def test_without_it_nothing_is_said() -> None:
    data = TaskData.of(Rows(), seed=0)
    assert (data.work, data.lengths, data.longest, data.lengths_of(torch.tensor([0]))) == (None, None, None, None)
    assert data.fingerprint().costs == ""


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ([1, 2, 3, 4], "gives a list"),
        (torch.ones(3, dtype=torch.int64), "of shape (3,) for 4 samples"),
        (torch.ones(4, 1, dtype=torch.int64), "of shape (4, 1) for 4 samples"),
        (torch.ones(4), "numbers of float32, which machines round differently"),
        (torch.tensor([1, 1, 0, 1]), "gives 0 for sample 2"),
        (torch.tensor([1, 2**61, 1, 1]), "too much for 64 bits"),
    ],
)
def test_numbers_that_are_none_are_told_with_the_method(work: Any, says: str) -> None:
    for rows, method in ((Rows(work=work), "work"), (Rows(lengths=work), "lengths")):
        with pytest.raises(DataError) as caught:
            TaskData.of(rows, seed=0)
        assert says in str(caught.value)
        assert method in str(caught.value)


def test_hosts_whose_samples_cost_otherwise_are_told_apart() -> None:
    """Their samples are the same: ranks that took others than they should would train some twice, and some never."""
    numbers = torch.tensor([9, 1, 4, 4])
    one = TaskData.of(Rows(numbers), seed=0).fingerprint()
    other = TaskData.of(Rows(numbers + 1), seed=0).fingerprint()
    as_lengths = TaskData.of(Rows(None, numbers), seed=0).fingerprint()
    assert one.exact == other.exact
    for found in (other, as_lengths, TaskData.of(Rows(), seed=0).fingerprint()):
        sent = DataFingerprint.of(found.to_table())
        assert sent == found
        assert difference(one, sent) == "costs"
    assert "the work and the lengths of its 4 samples have the hash " in told("costs", one, other)
    assert difference(one, TaskData.of(Rows(numbers.clone()), seed=0).fingerprint()) is None


def test_typical_samples_have_the_work_of_mean_ones_and_change_with_the_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(32, 2049, (3000,), generator=generator)
    work = lengths * (lengths + 3096)
    mean = float(work.double().mean())
    for samples in (1, 2, 4, 16, 64):
        for turn in range(6):
            found = typical(work, samples, turn)
            assert float(work[found].sum()) / samples == pytest.approx(mean, rel=0.01)
            assert len(set(found.tolist())) >= samples - 1
    assert set(typical(work, 16, 0).tolist()) != set(typical(work, 16, 1).tolist())
    assert typical(torch.tensor([5]), 3, 2).tolist() == [0, 0, 0]
