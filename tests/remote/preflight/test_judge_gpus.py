"""What is judged of GPUs: cards that are too new or too old for the torch there, and those of other makers."""

from __future__ import annotations

import dataclasses

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding
from motley.remote.launch.placement import misfits, place
from motley.remote.preflight.judge import judge
from motley.remote.preflight.probe import Accelerator, Probe
from tests.remote.conftest import MakeCluster
from tests.remote.preflight.test_judge import CARD, CUDA, GOOD

HOSTS = '[[hosts]]\nname = "box"\naddress = "192.168.0.7"\n'
NEW = dataclasses.replace(CUDA, torch="2.6.0+cu124", torch_build="CUDA 12.4", gpus=(
    dataclasses.replace(CARD, name="RTX 5090", capability="12.0"),
))  # fmt: skip
ARCS = tuple(Accelerator(device=f"xpu:{n}", name="Intel(R) Arc(TM) A770", total_mib=15_000) for n in range(2))
INTEL = dataclasses.replace(GOOD, torch="2.13.0+xpu", torch_build="XPU 20250301", accelerators=ARCS)
RADEON = Accelerator(device="cuda:0", name="AMD Radeon RX 7900 XTX", total_mib=24_000)
AMD = dataclasses.replace(GOOD, torch="2.13.0+rocm6.4", torch_build="ROCm 6.4.43482", accelerators=(RADEON,))


def found(cluster: Cluster, probe: Probe) -> list[Finding]:
    return list(judge(cluster, {"box": probe}, {}))


def test_a_card_that_torch_has_no_code_for_is_an_error_with_the_right_index(make_cluster: MakeCluster) -> None:
    (finding,) = found(make_cluster(HOSTS), NEW)
    assert (finding.check, finding.level) == ("generation", "error")
    assert finding.cause.startswith("cuda:0 (RTX 5090) is of compute capability 12.0, and torch 2.6.0+cu124")
    assert finding.cause.endswith("built for CUDA 12.4, has no code for it")
    command = "python3 -m pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128"
    assert f"ssh 192.168.0.7 '{command}'" in finding.remedy


@pytest.mark.parametrize(
    "change",
    [
        {"torch": "2.7.0+cu128", "torch_build": "CUDA 12.8"},
        {"machine": "aarch64"},  # whose builds are others
        {"torch": "2.6.0a0+nv24.12"},
        {"gpus": (dataclasses.replace(CARD, capability=""),)},
    ],
)
def test_no_word_of_a_card_that_fits_or_of_which_nothing_is_known(
    make_cluster: MakeCluster, change: dict[str, object]
) -> None:
    assert found(make_cluster(HOSTS), dataclasses.replace(NEW, **change)) == []  # type: ignore[arg-type]


def test_a_card_that_is_left_out_is_no_fault(make_cluster: MakeCluster) -> None:
    assert found(make_cluster(HOSTS + 'devices = ["cpu"]\n'), NEW) == []


def of_cards(cluster: Cluster, probe: Probe) -> list[Finding]:
    return [finding for finding in found(cluster, probe) if finding.check != "libraries"]


def test_each_card_of_a_rank_with_several_is_looked_for(make_cluster: MakeCluster) -> None:
    language = '[run]\ntask = "causal_lm"\n[task]\nmodel = "gpt2"\ntrain = "/a.jsonl"\n'
    there = make_cluster(language + HOSTS + "devices = [['xpu:0', 'xpu:1']]\n")
    assert of_cards(there, INTEL) == []
    assert [member.device for member in place(there, {"box": INTEL})] == ["xpu:0+1"]
    assert misfits(there, place(there, {"box": INTEL})) == []
    (finding,) = of_cards(make_cluster(language + HOSTS + "devices = [['xpu:1', 'xpu:2']]\n"), INTEL)
    assert finding.cause == "torch 2.13.0+xpu sees no xpu:2 there, but xpu:0, xpu:1"
    old = make_cluster(language + HOSTS + "devices = [[0, 1]]\n")
    assert {finding.check for finding in of_cards(old, NEW)} == {
        "devices",
        "generation",
    }  # it has one card, of a new kind


@pytest.mark.parametrize(("probe", "devices"), [(INTEL, ["xpu:0", "xpu:1"]), (AMD, ["cuda:0"])])
def test_cards_of_other_makers_are_what_torch_says(make_cluster: MakeCluster, probe: Probe, devices: list[str]) -> None:
    cluster = make_cluster(HOSTS)
    assert found(cluster, probe) == []
    members = place(cluster, {"box": probe})
    assert [member.device for member in members] == devices
    assert misfits(cluster, members) == []


@pytest.mark.parametrize(
    ("probe", "asked", "cause"),
    [
        (INTEL, "xpu:2", "torch 2.13.0+xpu sees no xpu:2 there, but xpu:0, xpu:1"),
        (AMD, "cuda:1", "torch 2.13.0+rocm6.4 sees no cuda:1 there, but cuda:0"),
        (INTEL, "cuda:0", "cuda:0 is asked for, and torch 2.13.0+xpu is built for XPU 20250301"),
        (CUDA, "xpu:0", "xpu:0 is asked for, and torch 2.13.0+cu130 is built for CUDA 13.0"),
        (GOOD, "xpu:0", "xpu:0 is asked for, and torch 2.13.0+cpu is built for the CPU alone"),
    ],
)
def test_a_card_of_another_maker_than_torch_is_for(
    make_cluster: MakeCluster, probe: Probe, asked: str, cause: str
) -> None:
    (finding,) = found(make_cluster(HOSTS + f'devices = ["{asked}"]\n'), probe)
    assert (finding.check, finding.level, finding.cause) == ("devices", "error", cause)


@pytest.mark.parametrize(("devices", "level"), [("", "error"), ('devices = ["cpu"]\n', "")])
def test_a_torch_that_does_not_say_what_it_sees_is_an_error_where_that_counts(
    make_cluster: MakeCluster, devices: str, level: str
) -> None:
    probe = dataclasses.replace(INTEL, accelerators=(), accelerator_trouble="ImportError: libsycl.so.8")
    findings = found(make_cluster(HOSTS + devices), probe)
    assert [(finding.check, finding.level) for finding in findings] == ([("devices", level)] if level else [])
    assert all("libsycl.so.8" in finding.cause for finding in findings)


def test_in_a_container_other_makers_cards_are_not_reached(make_cluster: MakeCluster) -> None:
    inside = dataclasses.replace(AMD, accelerators=())
    (finding,) = found(make_cluster(HOSTS + 'runtime = "docker"\nimage = "rocm/pytorch"\n'), inside)
    assert (finding.check, finding.level) == ("devices", "warning")
    assert finding.cause.endswith("containers are given NVIDIA's cards alone: it will train on the CPU")


def test_what_a_host_calls_a_card_is_a_device_or_nothing(make_cluster: MakeCluster) -> None:
    odd = tuple(dataclasses.replace(RADEON, device=name) for name in ("cuda:0; rm -r ~", "mps", "cpu", "cuda:1"))
    (member,) = place(make_cluster(HOSTS), {"box": dataclasses.replace(AMD, accelerators=odd)})
    assert member.device == "cuda:1"


def test_devices_that_no_library_serves_together_are_an_error(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(HOSTS + 'devices = ["xpu:0", "cpu"]\n')
    (finding,) = misfits(cluster, place(cluster, {"box": INTEL}))
    assert (finding.check, finding.level) == ("backend", "error")
    assert finding.cause == "gloo carries nothing of xpu:0 of box: that goes by xccl, between its like"
