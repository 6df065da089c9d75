"""State of a run from one rank to the others: tensors over the group and a JSON header, no pickle between hosts.

>>> step = share_state(model, optimizer, step, source=0)     # on every rank; all hold rank 0's state afterwards
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def share_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int, *, source: int = 0, own_buffers: bool = False
) -> int:
    """Give every rank the source's step, parameters, buffers and optimizer state. Returns the step.

    `own_buffers`: this rank keeps its buffers; each rank's BatchNorm has statistics of its own samples.
    """
    device = next(model.parameters()).device
    mine = {"step": step, "optimizer": _describe(optimizer)} if dist.get_rank() == source else None
    header = share_table(mine, device, source=source)
    for parameter in model.parameters():
        dist.broadcast(parameter.detach(), source)
    for buffer in model.buffers():
        keep = own_buffers and dist.get_rank() != source
        dist.broadcast(torch.empty_like(buffer) if keep else buffer, source)
    for tensor in _allocate(optimizer, header["optimizer"]):
        dist.broadcast(tensor, source)
    return int(header["step"])


def share_table(table: dict[str, Any] | None, device: torch.device, *, source: int = 0) -> dict[str, Any]:
    """Broadcast a small JSON table; `table` is the source's, None elsewhere."""
    text = json.dumps(table).encode() if table is not None else b""
    length = torch.tensor([len(text)], dtype=torch.int64, device=device)
    dist.broadcast(length, source)
    data = torch.empty(int(length), dtype=torch.uint8, device=device)
    if table is not None:
        data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    dist.broadcast(data, source)
    received: dict[str, Any] = json.loads(bytes(data.cpu().tolist()))
    return received


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _describe(optimizer: torch.optim.Optimizer) -> list[dict[str, str]]:
    """For each parameter, the names and dtypes of its optimizer state ("momentum_buffer", "exp_avg", "step", …)."""
    return [
        {
            name: str(value.dtype).removeprefix("torch.") + (" scalar" if value.dim() == 0 else "")
            for name, value in sorted(optimizer.state.get(p, {}).items())
            if isinstance(value, torch.Tensor)
        }
        for p in _parameters(optimizer)
    ]


def _allocate(optimizer: torch.optim.Optimizer, described: list[dict[str, str]]) -> list[torch.Tensor]:
    """The optimizer's state tensors in the described order, made where they are missing."""
    tensors = []
    for parameter, entries in zip(_parameters(optimizer), described):
        state = optimizer.state[parameter]
        for name, kind in entries.items():
            dtype, _, scalar = kind.partition(" ")
            current = state.get(name)
            if not isinstance(current, torch.Tensor):
                shape = () if scalar else parameter.shape
                current = state[name] = torch.zeros(
                    shape, dtype=getattr(torch, dtype), device="cpu" if scalar else parameter.device
                )
            tensors.append(current)
    return tensors
