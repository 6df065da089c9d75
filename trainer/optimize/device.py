"""The device that a process computes on."""

from __future__ import annotations

import torch

from motley.trainer.errors import TrainerError


def use_device(name: str) -> torch.device:
    """Made the current one where it is a GPU: `cpu`, `cuda:1`. Raises TrainerError when torch can't use it."""
    device = torch.device(name)
    if device.type == "cuda":
        seen = torch.cuda.device_count()
        if (device.index or 0) >= seen:
            cause = f"torch {torch.__version__} can't use {device}: it sees {seen} CUDA devices"
            raise TrainerError(cause, "Name the devices that a run shall use in devices of the host")
        torch.cuda.set_device(device)
    return device
