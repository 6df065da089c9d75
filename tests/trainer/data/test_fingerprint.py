"""Whether two hosts have the same data: known by eight samples and their number, whatever samples are made of."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch

from motley.trainer.contract.data_fingerprint import DataFingerprint, difference, told
from motley.trainer.data.fetch import source_of
from motley.trainer.data.fingerprint import fingerprint
from tests.trainer.data.datasets import Shaken


def of(data: Any) -> DataFingerprint:
    sent = json.loads(json.dumps(fingerprint(source_of(data, list, "train_data")).to_table()))
    return DataFingerprint.of(sent)


@dataclass
class Labelled:
    boxes: list[float]
    name: str


class Picture:
    """As Pillow's are: a mode, a size, and bytes."""

    mode, size = "L", (4, 3)

    def __init__(self, shift: int) -> None:
        self._shift = shift

    def tobytes(self) -> bytes:
        return bytes((17 * i + self._shift) % 256 for i in range(12))


class Samples:
    """`change` is made to each of them."""

    def __init__(self, change: Any = lambda _: None, length: int = 30) -> None:
        self._change = change
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = {
            "pixels": (torch.arange(48, dtype=torch.uint8) * 5).reshape(3, 4, 4) + number,
            "signal": torch.randn(100),
            "array": numpy.arange(5.0) + number,
            "texts": numpy.array(["a", "b"]),
            "label": number % 3,
            "token ids": torch.tensor([number, 2, 3]),
            "weights": [0.5, float("nan")],
            "object": Labelled([1.0, 2.0], "cat"),
            "picture": Picture(0),
            "tags": {"b", "a"},
        }
        self._change(sample)
        return sample


def test_the_same_data_has_the_same_fingerprint_and_random_numbers_stay() -> None:
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    first = of(Samples())
    drawn = torch.rand(()).item(), random.random(), numpy.random.rand()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    assert (torch.rand(()).item(), random.random(), numpy.random.rand()) == drawn
    assert difference(first, of(Samples())) is None
    assert difference(of(Shaken()), of(Shaken())) is None
    rows = torch.arange(60.0).reshape(20, 3)
    assert difference(of((rows, rows[:, 0].long())), of((rows.clone(), rows[:, 0].long()))) is None


def with_pixel(sample: dict[str, Any]) -> None:
    sample["pixels"] = sample["pixels"].clone()
    sample["pixels"][0, 0, 0] += 2


def with_shape(sample: dict[str, Any]) -> None:
    sample["pixels"] = sample["pixels"][:, :2]


SLIGHT = {
    "a pixel": with_pixel,
    "a signal": lambda sample: sample["signal"].mul_(1.001),
    "a picture": lambda sample: sample.update(picture=Picture(1)),
}
OTHER = {
    "a label": lambda sample: sample.update(label=9),
    "a token": lambda sample: sample["token ids"].add_(1),
    "a shape": with_shape,
    "a type": lambda sample: sample.update(signal=sample["signal"].double()),
    "a text": lambda sample: sample.update(object=Labelled([1.0, 2.0], "dog")),
    "all pixels": lambda sample: sample.update(pixels=sample["pixels"].flip(0, 1, 2)),
    "a picture": lambda sample: sample.update(picture=Picture(90)),
    "other numbers": lambda sample: sample.update(signal=torch.randn(100)),
    "a key": lambda sample: sample.update(more=1),
    "an array of texts": lambda sample: sample.update(texts=numpy.array(["a", "c"])),
}


@pytest.mark.parametrize("what", SLIGHT)
def test_values_that_differ_slightly_are_told_apart_from_other_samples(what: str) -> None:
    assert difference(of(Samples()), of(Samples(SLIGHT[what]))) == "values"


@pytest.mark.parametrize("what", OTHER)
def test_other_samples_are_found(what: str) -> None:
    mine, its = of(Samples()), of(Samples(OTHER[what]))
    assert difference(mine, its) == "samples"
    assert told("samples", mine, its) == f"8 of its 30 samples have the hash {mine.exact[:8]}, not {its.exact[:8]}"


def test_another_length_is_found_and_few_samples_will_do() -> None:
    assert difference(of(Samples(length=31)), of(Samples())) == "length"
    assert told("length", of(Samples(length=1)), of(Samples(length=2))) == "1 samples, not 2"


def test_words_of_the_task_are_compared_but_for_what_stands_in_brackets() -> None:
    def said(**words: str) -> DataFingerprint:
        table = dataclasses.replace(of(Samples()), identity=tuple(words.items())).to_table()
        return DataFingerprint.of(json.loads(json.dumps(table)))

    mine = said(tokenizer="3f2a (tokenizers 0.23.3)", labels="77aa")
    assert difference(mine, said(labels="77aa", tokenizer="3f2a (tokenizers 0.22.0)")) is None
    its = said(tokenizer="3f2a", labels="88bb")
    assert difference(mine, its) == "identity"
    assert told("identity", mine, its) == "labels 77aa, not 88bb"
    assert told("identity", of(Samples()), mine) == "tokenizer none, not 3f2a (tokenizers 0.23.3); labels differ too"


def test_nonsense_from_a_rank_is_refused() -> None:
    for wrong in (
        {},
        {"length": "x", "exact": "", "kind": "", "values": []},
        of(Samples()).to_table() | {"values": [[0.0] * 5000]},
        of(Samples()).to_table() | {"identity": [["a", "b"]] * 34},
        of(Samples()).to_table() | {"identity": [["a", 7]]},
        of(Samples()).to_table() | {"identity": ["a"]},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            DataFingerprint.of(wrong)
