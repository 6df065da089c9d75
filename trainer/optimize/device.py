"""The device that a process computes on, or its several cards."""

from __future__ import annotations

import torch
from torch import nn

from motley.trainer.devices import accelerator
from motley.trainer.devices.names import cards_of
from motley.trainer.errors import TrainerError


def use_device(name: str) -> torch.device:
    """Made the current one where it is a GPU: `cpu`, `cuda:1`; of several cards the first. Raises TrainerError when
    torch can't use it."""
    return use_devices(name)[0]


def use_devices(name: str) -> tuple[torch.device, ...]:
    """All cards of a rank: `cuda:0+1` has two, anything else is one. The first is made the current one."""
    devices = tuple(map(torch.device, cards_of(name)))
    for device in devices:
        seen = accelerator.seen(device) if accelerator.is_gpu(device) else 1
        if (device.index or 0) >= seen:
            cause = f"torch {torch.__version__} can't use {device}: it sees {seen} {device.type.upper()} devices"
            raise TrainerError(cause, "Name the devices that a run shall use in devices of the host")
    if accelerator.is_gpu(devices[0]):
        accelerator.use(devices[0])
    return devices


def gpus_of(model: nn.Module, device: torch.device) -> tuple[torch.device, ...]:
    """The GPUs that `model` lies on, `device` of them first; empty on a CPU."""
    tensors = (*model.parameters(), *model.buffers())
    found = dict.fromkeys([device, *(tensor.device for tensor in tensors)])
    return tuple(one for one in found if accelerator.is_gpu(one))
