"""What is asked of torch about a GPU: which count, and what older torches do not have. On stand-ins for its modules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from motley.trainer.devices import accelerator
from motley.trainer.errors import TrainerError
from motley.trainer.optimize.device import gpus_of, use_device, use_devices
from motley.trainer.training.metrics import DeviceMeter

XPU = torch.device("xpu:1")


@pytest.mark.parametrize(
    ("kind", "available", "found"),
    [("cuda", True, ("cuda", 2)), ("xpu", True, ("xpu", 2)), ("cuda", False, ("", 0)), ("mps", True, ("", 0))],
)
def test_which_gpus_count(monkeypatch: pytest.MonkeyPatch, kind: str, available: bool, found: tuple[str, int]) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert (accelerator.kind(), accelerator.count()) == found


def test_a_mac_s_device_counts_as_the_cpu_does() -> None:
    mps = torch.device("mps")
    assert not accelerator.is_gpu(mps)
    assert accelerator.ddp_ids(mps) is None
    accelerator.seed(mps, 1)
    accelerator.release_memory(mps)
    assert use_device("mps") == mps


def older(monkeypatch: pytest.MonkeyPatch, **has: Any) -> None:
    """torch.xpu with nothing but this."""
    monkeypatch.setattr(torch, "get_device_module", lambda _device: SimpleNamespace(**has))


def test_a_torch_whose_module_of_intel_s_cards_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=16 << 30)
    older(monkeypatch, get_device_properties=lambda _device: card, memory_reserved=lambda _device: 2 << 30)
    assert accelerator.total_bytes(XPU) == 16 << 30
    assert accelerator.room_bytes(XPU) == 16 << 30
    assert accelerator.has_bf16(XPU) is False


def test_what_the_driver_says_of_memory_is_taken_where_there_is_a_way_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    older(monkeypatch, mem_get_info=lambda _device: (5 << 30, 8 << 30), memory_reserved=lambda _device: 1 << 30)
    assert accelerator.total_bytes(XPU) == 8 << 30
    assert accelerator.room_bytes(XPU) == 6 << 30


def test_a_torch_that_does_not_know_a_library_has_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.delattr(dist, "is_xccl_available")
    assert accelerator.libraries() == ("nccl",)


def test_only_nvidia_s_cards_have_a_name_that_their_driver_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    older(monkeypatch, get_device_properties=lambda _device: SimpleNamespace(uuid="5c2"))
    monkeypatch.setattr(torch.version, "hip", None)
    assert accelerator.nvml_uuid(torch.device("cuda:0")) == "GPU-5c2"
    assert accelerator.nvml_uuid(XPU) is None
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert accelerator.nvml_uuid(torch.device("cuda:0")) is None


@pytest.mark.parametrize("name", ["cuda:1", "xpu:1"])
def test_a_device_that_torch_does_not_see_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    used: list[torch.device] = []
    older(monkeypatch, device_count=lambda: 1, set_device=used.append)
    with pytest.raises(TrainerError, match=f"can't use {name}: it sees 1 {name[:-2].upper()} devices"):
        use_device(name)
    assert use_device(f"{name[:-1]}0") == torch.device(f"{name[:-1]}0")
    assert used == [torch.device(f"{name[:-1]}0")]
    with pytest.raises(TrainerError, match=f"can't use {name}: it sees 1"):
        use_devices(f"{name[:-1]}0+1")


def test_of_several_cards_the_first_is_in_use_and_the_meter_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[torch.device] = []
    mib = {0: 3000, 1: 7000}
    older(
        monkeypatch, device_count=lambda: 2, set_device=used.append,
        get_device_properties=lambda _device: SimpleNamespace(total_memory=8000 << 20),
        max_memory_allocated=lambda device: mib[device.index] << 20,
    )  # fmt: skip
    devices = use_devices("xpu:0+1")
    assert (devices, used) == ((torch.device("xpu:0"), XPU), [torch.device("xpu:0")])
    meter = DeviceMeter(*devices)
    figures = meter.read()
    assert (figures.mib, figures.full, figures.gpu_util) == (10000, 7000 / 8000, None)
    assert figures.cards == [{"mib": 3000, "util": None}, {"mib": 7000, "util": None}]
    busy: Any = [SimpleNamespace(utilisation=lambda: 40.0), SimpleNamespace(utilisation=lambda: 70.0)]
    monkeypatch.setattr(meter, "_gpus", busy)
    assert meter.read().gpu_util == 100.0
    assert [card["util"] for card in meter.read().cards] == [40.0, 70.0]
    assert DeviceMeter(XPU).read().cards == []
    assert DeviceMeter(torch.device("cpu")).read().gpu_util is None


def test_which_gpus_a_model_lies_on() -> None:
    cpu = torch.device("cpu")
    assert gpus_of(torch.nn.Linear(2, 2), cpu) == ()
    assert gpus_of(torch.nn.Linear(2, 2), XPU) == (XPU,)
