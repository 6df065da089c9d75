"""Which torch has code for which card, as its builds are known to be."""

from __future__ import annotations

import pytest

from motley.trainer.devices.generations import holds, index_for

MAXWELL, PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER = "5.2", "6.1", "7.0", "7.5", "8.6", "8.9", "9.0"
B200, B300, RTX_50, GB10 = "10.0", "10.3", "12.0", "12.1"


@pytest.mark.parametrize(
    ("torch", "build", "has", "has_not"),
    [
        ("2.5.1+cu121", "CUDA 12.1", [MAXWELL, PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER], [B200, RTX_50]),
        ("2.6.0+cu124", "CUDA 12.4", [MAXWELL, PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER], [B200, RTX_50]),
        ("2.14.0+cu126", "CUDA 12.6", [MAXWELL, PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER], [B200, RTX_50]),
        ("2.7.1+cu128", "CUDA 12.8", [TURING, AMPERE, ADA, HOPPER, B200, B300, RTX_50, GB10], [MAXWELL, PASCAL, VOLTA]),
        ("2.8.0+cu128", "CUDA 12.8", [VOLTA, TURING, ADA, HOPPER, B200, RTX_50], [MAXWELL, PASCAL]),
        ("2.8.0+cu129", "CUDA 12.9", [VOLTA, TURING, ADA, HOPPER, B200, RTX_50], [MAXWELL, PASCAL]),
        ("2.11.0+cu128", "CUDA 12.8", [TURING, ADA, HOPPER, B200, RTX_50], [MAXWELL, PASCAL, VOLTA]),
        ("2.13.0+cu130", "CUDA 13.0", [TURING, ADA, HOPPER, B200, RTX_50], [MAXWELL, PASCAL, VOLTA]),
    ],
)
def test_what_a_build_has_code_for(torch: str, build: str, has: list[str], has_not: list[str]) -> None:
    assert [card for card in has if holds(torch, build, card) is not True] == []
    assert [card for card in has_not if holds(torch, build, card) is not False] == []


@pytest.mark.parametrize(
    ("torch", "build", "card"),
    [
        ("2.6.0a0+df5bbc09d1.nv24.12", "CUDA 12.6", RTX_50),  # NVIDIA's own
        ("2.6.0", "CUDA 12.6", RTX_50),  # a distribution's
        ("2.6.0+cu124", "CUDA 12.6", RTX_50),  # contradicts itself
        ("2.13.0+cpu", "", RTX_50),
        ("2.9.0+rocm6.4", "ROCm 6.4.43482", RTX_50),
        ("2.99.0+cu130", "CUDA 13.0", VOLTA),  # of a time after the tables
        ("2.13.0+cu140", "CUDA 14.0", TURING),
        ("2.13.0+cu130", "CUDA 13.0", "13.0"),
        ("2.13.0+cu130", "CUDA 13.0", "3.7"),
        ("2.13.0+cu130", "CUDA 13.0", ""),
        ("2.13.0+cu130", "CUDA 13.0", "[N/A]"),
    ],
)
def test_nothing_is_said_where_it_is_not_known(torch: str, build: str, card: str) -> None:
    assert holds(torch, build, card) is None


@pytest.mark.parametrize(
    ("torch", "card", "index"),
    [
        ("2.5.1+cu121", RTX_50, "cu128"),
        ("2.6.0+cu124", B200, "cu128"),
        ("2.13.0+cu126", RTX_50, "cu130"),  # which is not given out for CUDA 12.8 any more
        ("2.13.0+cu130", PASCAL, "cu126"),
        ("2.11.0+cu128", VOLTA, "cu126"),
    ],
)
def test_the_index_that_has_it(torch: str, card: str, index: str) -> None:
    assert index_for(torch, card) == f"https://download.pytorch.org/whl/{index}"
    cuda = f"{index[2:4]}.{index[4]}"
    newest = {"cu126": "2.14.0", "cu128": "2.11.0", "cu130": "2.14.0"}[index]
    assert holds(f"{newest}+{index}", f"CUDA {cuda}", card)
