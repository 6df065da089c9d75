"""The device that a process computes on."""

from __future__ import annotations

import torch

from motley.trainer.devices import accelerator
from motley.trainer.errors import TrainerError


def use_device(name: str) -> torch.device:
    """Made the current one where it is a GPU: `cpu`, `cuda:1`. Raises TrainerError when torch can't use it."""
    device = torch.device(name)
    if accelerator.is_gpu(device):
        seen = accelerator.seen(device)
        if (device.index or 0) >= seen:
            cause = f"torch {torch.__version__} can't use {device}: it sees {seen} {device.type.upper()} devices"
            raise TrainerError(cause, "Name the devices that a run shall use in devices of the host")
        accelerator.use(device)
    return device
