"""What devices are called, and what follows from it."""

from __future__ import annotations

import pytest

from motley.trainer.devices import names


@pytest.mark.parametrize("name", ["cpu", "cuda:0", "cuda:15", "xpu:0", "xpu:999"])
def test_a_name(name: str) -> None:
    assert names.is_name(name)


@pytest.mark.parametrize("name", ["", "cuda", "xpu", "cuda:", "cuda:00", "cuda:1000", "cpu:0", "mps", "xpu:-1"])
def test_what_is_none(name: str) -> None:
    assert not names.is_name(name)


@pytest.mark.parametrize(
    ("name", "cards"), [("cuda:0+1", ("cuda:0", "cuda:1")), ("xpu:3+0+12", ("xpu:3", "xpu:0", "xpu:12"))]
)
def test_several_cards_of_one_rank_are_one_word(name: str, cards: tuple[str, ...]) -> None:
    assert names.is_name(name)
    assert names.cards_of(name) == cards
    assert names.together(cards) == name
    assert (names.kind_of(name), names.index_of(name), names.is_gpu(name)) == (
        name[: -len(name) + name.index(":")],
        int(cards[0][-1]),
        True,
    )
    assert names.nvml_device("cuda:2+3", {"CUDA_VISIBLE_DEVICES": "4,5,GPU-7,6"}) == "GPU-7"


@pytest.mark.parametrize("name", ["cpu+1", "cuda:0+", "cuda:0+0", "cuda:+1", "cuda:0+cuda:1", "cuda:0+01"])
def test_what_is_no_such_word(name: str) -> None:
    assert not names.is_name(name)


def test_one_kind() -> None:
    assert names.one_kind(["cuda:0", "cuda:1"]) == "cuda"
    assert names.one_kind(["xpu:0"]) == "xpu"
    assert [names.one_kind(some) for some in (["cuda:0", "xpu:0"], ["cuda:0", "cpu"], ["cpu"], [])] == [""] * 4


def test_what_a_group_is_made_with() -> None:
    assert names.group_backends("xccl") == "cpu:gloo,xpu:xccl"
    assert names.group_backends("nccl") == "cpu:gloo,cuda:nccl"
    assert names.group_backends("gloo") == "gloo"
