"""NCCL is taken only where all ranks are GPUs of one host: letting go of its groups was never seen on a real GPU."""

from __future__ import annotations

import pytest

from motley.trainer.contract.backend import choose_backend, could_be_quicker
from motley.trainer.contract.spec import Member


def members(*devices: str) -> tuple[Member, ...]:
    """ "box1 cuda:0" is a rank."""
    places = [device.split() for device in devices]
    return tuple(Member(member=i, host=h, local_rank=0, device=d) for i, (h, d) in enumerate(places))


ONE_HOST = members("box1 cuda:0", "box1 cuda:1")
TWO_HOSTS = members("box1 cuda:0", "box1 cuda:1", "box2 cuda:0")
MIXED = members("box1 cuda:0", "box1 cpu")
INTELS = members("box1 xpu:0", "box1 xpu:1")


@pytest.mark.parametrize(
    ("wanted", "ranks", "taken"),
    [
        ("auto", ONE_HOST, "nccl"),
        ("auto", members("box1 cuda:0"), "nccl"),
        ("auto", TWO_HOSTS, "gloo"),
        ("auto", members("box1 cuda:0", "box2 cuda:0"), "gloo"),
        ("auto", MIXED, "gloo"),
        ("auto", members("box1 cpu", "box2 cpu"), "gloo"),
        ("auto", (), "gloo"),
        ("gloo", ONE_HOST, "gloo"),
        ("nccl", ONE_HOST, "nccl"),
        ("nccl", TWO_HOSTS, "nccl"),
        ("auto", INTELS, "xccl"),
        ("auto", (*INTELS, *members("box2 xpu:0")), "xccl"),
        ("xccl", INTELS, "xccl"),
    ],
)
def test_the_backend_of_a_group(wanted: str, ranks: tuple[Member, ...], taken: str) -> None:
    assert choose_backend(wanted, ranks) == taken


def test_once_a_second_host_belongs_to_the_run_it_is_gloo_also_after_that_host_is_lost() -> None:
    """All that ever belonged to the run are asked about, so all ranks choose the same, whoever is there."""
    assert choose_backend("auto", ONE_HOST) == "nccl"
    joined = (*ONE_HOST, Member(member=2, host="box2", local_rank=0, device="cuda:0"))
    assert choose_backend("auto", joined) == "gloo"


def test_without_nccl_in_torch_it_is_gloo() -> None:
    assert choose_backend("auto", ONE_HOST, built_with=()) == "gloo"


def test_nccl_is_refused_where_a_rank_is_no_gpu() -> None:
    with pytest.raises(ValueError, match="needs every rank on CUDA"):
        choose_backend("nccl", MIXED)
    with pytest.raises(ValueError, match="needs every rank on CUDA"):
        choose_backend("nccl", INTELS)


@pytest.mark.parametrize(
    ("wanted", "ranks"), [("gloo", INTELS), ("auto", (*INTELS, *ONE_HOST)), ("auto", members("box1 cpu", "box2 xpu:0"))]
)
def test_what_gloo_does_not_carry_is_refused(wanted: str, ranks: tuple[Member, ...]) -> None:
    with pytest.raises(ValueError, match="that goes by xccl, between its like"):
        choose_backend(wanted, ranks)


def test_a_torch_without_the_library_that_an_intel_card_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="of xpu:0 of box1: that goes by xccl, which torch is without on box1"):
        choose_backend("auto", INTELS, built_with=("nccl",))


def test_the_user_is_told_only_where_nccl_would_be_quicker() -> None:
    told = [could_be_quicker("auto", ranks) for ranks in (TWO_HOSTS, ONE_HOST, MIXED, ())]
    assert told == ["nccl", "", "", ""]
    assert not could_be_quicker("nccl", TWO_HOSTS)
    assert not could_be_quicker("gloo", TWO_HOSTS)
