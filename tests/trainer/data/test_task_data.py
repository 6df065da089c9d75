"""Samples by number: the same whoever draws them, and batches of any nesting that are cut sample by sample."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from motley.trainer.data.batch import Batch
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import DataError, TaskError
from motley.trainer.tasks.task import Task


class Shaken:
    """A Dataset that draws from all the random numbers that people draw from."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> dict[str, Any]:
        drawn = [torch.rand(()).item(), random.random(), float(numpy.random.rand())]
        return {"x": torch.tensor([number, *drawn], dtype=torch.float64), "name": f"sample {number}"}


class Given(Task):
    def __init__(self, train: Any, test: Any = None) -> None:
        super().__init__()
        self._train, self._test = train, test

    def train_data(self) -> Any:
        return self._train

    def test_data(self) -> Any:
        return self._test


def drawn(ids: list[int], *, epoch: int = 2, seed: int = 0) -> Any:
    return TaskData.of(Given(Shaken()), seed=seed).train_batch(torch.tensor(ids), epoch).content


def test_a_sample_of_a_dataset_looks_the_same_in_whatever_company() -> None:
    whole = drawn([7, 3, 11])
    assert whole["x"][:, 0].tolist() == [7, 3, 11]
    assert whole["name"] == ["sample 7", "sample 3", "sample 11"]
    assert torch.equal(drawn([11, 7])["x"], whole["x"][[2, 0]])
    assert len(set(whole["x"][:, 1:].flatten().tolist())) == 9
    for other in (drawn([7, 3, 11], epoch=3), drawn([7, 3, 11], seed=1)):
        assert not set(other["x"][:, 1:].flatten().tolist()) & set(whole["x"][:, 1:].flatten().tolist())


def test_test_samples_are_the_same_in_every_evaluation() -> None:
    data = TaskData.of(Given(Shaken(), Shaken()), seed=0)
    assert torch.equal(data.test_batch(3, 8).content["x"], data.test_batch(3, 99).content["x"][:5])
    assert data.test_batch(8, 99).size == 4


def test_tensors_are_rows_and_one_alone_is_the_batch() -> None:
    rows = torch.arange(12.0).reshape(6, 2)
    assert TaskData.of(Given(rows), seed=0).train_batch(torch.tensor([5, 0]), 0).content.tolist() == [[10, 11], [0, 1]]
    pair = TaskData.of(Given((rows, torch.arange(6))), seed=0).train_batch(torch.tensor([5, 0]), 0).content
    assert (pair[0].tolist(), pair[1].tolist()) == ([[10, 11], [0, 1]], [5, 0])


def test_a_batch_is_cut_in_every_leaf() -> None:
    content = (
        {"a": torch.arange(5), "names": list("abcde"), "of all": 7, "scalar": torch.tensor(3)},
        [torch.arange(5)],
    )
    first, second = Batch(content, 5).split((2, 3))
    assert (first.size, second.size) == (2, 3)
    table, (numbers,) = second.content
    assert (table["a"].tolist(), table["names"], table["of all"], int(table["scalar"])) == (
        [2, 3, 4],
        list("cde"),
        7,
        3,
    )
    assert numbers.tolist() == [2, 3, 4]
    assert first.content[0]["names"] == ["a", "b"]


def test_a_batch_whose_rows_are_no_samples_is_named() -> None:
    class Turned(Given):
        def prepare(self, batch: Tensor) -> Tensor:
            return batch.T

    with pytest.raises(DataError, match=r"a batch of 3 samples of train_data has a tensor of shape \(2, 3\)"):
        TaskData.of(Turned(torch.zeros(6, 2)), seed=0).train_batch(torch.tensor([0, 1, 2]), 0)


class Said(Given):
    """A task that says what must be the same elsewhere."""

    def __init__(self, words: Any) -> None:
        super().__init__(torch.arange(6.0))
        self._words = words

    def identity(self) -> Any:
        return self._words


def test_what_a_task_says_must_be_the_same_goes_with_the_fingerprint_of_its_data() -> None:
    found = TaskData.of(Said({"tokenizer": "3f2a", "base": "c0de"}), seed=0).fingerprint()
    assert found.identity == (("tokenizer", "3f2a"), ("base", "c0de"))
    plain = TaskData.of(Given(torch.arange(6.0)), seed=0).fingerprint()
    assert plain.identity == ()
    assert plain.exact == found.exact


@pytest.mark.parametrize("words", [None, ["3f2a"], {"version": 3}, {7: "x"}])
def test_an_identity_that_is_none_is_named(words: Any) -> None:
    with pytest.raises(TaskError, match=r"Said\.identity gives no names with a text each"):
        TaskData.of(Said(words), seed=0).fingerprint()


@pytest.mark.parametrize("words", [{"a": "x" * 201}, {str(n): "x" for n in range(33)}])
def test_an_identity_that_is_too_long_is_named(words: Any) -> None:
    with pytest.raises(TaskError, match=r"Said\.identity gives more than 32 names, or a text of more than 200"):
        TaskData.of(Said(words), seed=0).fingerprint()
