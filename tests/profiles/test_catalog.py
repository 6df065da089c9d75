"""First guesses from the names that drivers and kernels give."""

from __future__ import annotations

import pytest

from motley.profiles.catalog import guess


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("NVIDIA GeForce RTX 3070", "GeForce RTX 3070"),
        ("NVIDIA GeForce RTX 3070 Ti", "GeForce RTX 3070 Ti"),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", "GeForce RTX 3070 Laptop"),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", "GeForce RTX 3080 Ti Laptop"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "GeForce RTX 4070 Ti SUPER"),
        ("GeForce GTX 1060 6GB", "GeForce GTX 1060"),
        ("NVIDIA GeForce GTX 1660 SUPER", "GeForce GTX 1660 SUPER"),
        ("NVIDIA TITAN V", "TITAN V"),
        ("Tesla V100-SXM2-32GB", "Tesla V100"),
        ("Tesla T4", "Tesla T4"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA RTX A4000", "RTX A4000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("Quadro P2000", "Quadro P2000"),
        ("AMD Radeon RX 7900 XTX", "Radeon RX 7900 XTX"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "GeForce RTX 5090 Laptop"),
        ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", "GeForce RTX 2080 SUPER"),
        ("NVIDIA TITAN X (Pascal)", "TITAN X Pascal"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 SFF Ada"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA A10G", "A10G"),
        ("AMD Radeon RX 6950 XT", "Radeon RX 6950 XT"),
        ("AMD Instinct MI250X / MI250", "Instinct MI250X"),
    ],
)
def test_cards_are_known_by_the_names_that_drivers_give(name: str, entry: str) -> None:
    found = guess(name, None)
    assert found is not None
    assert found.matched == entry


def test_the_memory_in_a_name_is_that_of_the_card_at_hand() -> None:
    for name, gib in (
        ("NVIDIA A100-SXM4-80GB", 80.0),
        ("Tesla V100-SXM2-32GB", 32.0),
        ("GeForce GTX 1060 3GB", 3.0),
        ("NVIDIA GH200 480GB", 96.0),  # the rest is the processor's
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5.0),
    ):
        found = guess(name, None)
        assert found is not None
        assert found.memory_gib == gib


@pytest.mark.parametrize(
    "name",
    [
        "AMD Ryzen 7 5800X 8-Core Processor",
        "AMD Ryzen 9 7950X 16-Core Processor",
        "AMD Ryzen 5 2600 Six-Core Processor",
        "AMD EPYC 7763 64-Core Processor",
        "AMD EPYC",
        "Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz",
        "Intel(R) Core(TM) i5-3470 CPU @ 3.20GHz",
        "12th Gen Intel(R) Core(TM) i7-12700K",
        "Intel(R) Core(TM) Ultra 7 155H",
        "Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz",
        "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz",
        "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz",
        "Intel(R) N100",
        "Intel(R) Celeron(R) J4125 CPU @ 2.00GHz",
        "Raspberry Pi 4 Model B Rev 1.4",
        "Apple M2",
        "AMD Ryzen 7 PRO 6850U with Radeon Graphics",
        "AMD Ryzen AI 9 HX 370 w/ Radeon 890M",
        "Intel(R) Xeon(R) CPU E3-1230 v5 @ 3.40GHz",
        "Intel(R) Xeon(R) Processor (Skylake, IBRS)",
        "QEMU Virtual CPU version 2.5+",
        "aarch64",
    ],
)
def test_processors_are_known_by_the_names_that_kernels_give(name: str) -> None:
    found = guess(name, 8)
    assert found is not None
    assert 0.01 < found.tflops < 2.0


def speed(name: str, cores: float | None) -> float:
    found = guess(name, cores)
    assert found is not None
    return found.relative_speed


def test_what_everybody_knows_to_be_faster_is_guessed_to_be_faster() -> None:
    order = [
        ("Raspberry Pi 4 Model B Rev 1.4", 4.0),
        ("Intel(R) Core(TM) i5-3470 CPU @ 3.20GHz", 4.0),
        ("AMD Ryzen 7 5800X 8-Core Processor", 16.0),
        ("GeForce GTX 1060 6GB", None),
        ("NVIDIA GeForce RTX 3070", None),
        ("NVIDIA GeForce RTX 4090", None),
    ]
    speeds = [speed(*device) for device in order]
    assert speeds == sorted(speeds)
    assert speed("AMD EPYC", 0.4) < speed("AMD EPYC", 4.0) < speed("AMD EPYC", 8.0)


def test_cards_whose_data_sheets_count_differently_come_out_near_what_is_seen() -> None:
    """Images a second of ResNet-50 in training (T4: in inference) against a V100's in the same table.

    From Lambda's GPU benchmarks of 2019, the last two from NVIDIA's Deep Learning Examples.
    """
    v100 = speed("Tesla V100-SXM2-32GB", None)
    for name, times in (
        ("NVIDIA GeForce RTX 2080", 213 / 405),
        ("NVIDIA GeForce RTX 2080 Ti", 294 / 405),
        ("NVIDIA TITAN RTX", 330 / 405),
        ("NVIDIA TITAN Xp", 236 / 405),
        ("NVIDIA GeForce GTX 1080 Ti", 209 / 405),
        ("NVIDIA A100-SXM4-80GB", 938 / 367),
        ("Tesla T4", 426 / 1229),
    ):
        assert times / 1.4 < speed(name, None) / v100 < times * 1.4, name


def test_a_part_of_a_card_and_a_laptop_s_are_slower() -> None:
    whole = speed("NVIDIA A100-SXM4-40GB", None)
    assert speed("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None) == pytest.approx(whole / 7)
    assert speed("NVIDIA GeForce RTX 2070 Laptop GPU", None) < speed("NVIDIA GeForce RTX 2070", None)


@pytest.mark.parametrize(("name", "cores"), [("Matrox G400", None), ("VIA Nano X2", 2.0), ("", None), ("", 1.0)])
def test_nobody_is_guessed_to_be_what_they_are_not(name: str, cores: float | None) -> None:
    assert guess(name, cores) is None
