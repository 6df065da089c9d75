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


def test_one_kind() -> None:
    assert names.one_kind(["cuda:0", "cuda:1"]) == "cuda"
    assert names.one_kind(["xpu:0"]) == "xpu"
    assert [names.one_kind(some) for some in (["cuda:0", "xpu:0"], ["cuda:0", "cpu"], ["cpu"], [])] == [""] * 4


def test_what_a_group_is_made_with() -> None:
    assert names.group_backends("xccl") == "cpu:gloo,xpu:xccl"
    assert names.group_backends("nccl") == "cpu:gloo,cuda:nccl"
    assert names.group_backends("gloo") == "gloo"
