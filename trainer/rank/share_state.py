"""State of a run from one rank to the others: tensors over the group and a JSON header, no pickle between hosts.

It is received beside what a rank has, and takes its place when all of it has come: a source that goes in the middle
leaves every rank with the state that it had before.

>>> incoming = share_state(model, optimizer, step, source=0)     # on every rank; raises when the source goes
>>> incoming.put()                                               # all hold rank 0's state afterwards
>>> incoming.step
412
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from motley.trainer.optimize.local_weights import NONE, LocalWeights


@dataclass(slots=True, kw_only=True)
class Incoming:
    """A whole state that has come, of `step` completed steps. On the source it is its own."""

    step: int
    _optimizer: torch.optim.Optimizer
    _places: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # a tensor of ours, and what belongs into it
    _states: list[tuple[Tensor, dict[str, Any]]] = field(default_factory=list)  # of the optimizer, by parameter

    @torch.no_grad()
    def put(self) -> None:
        """Put it into the model, the optimizer and what else there is. Nothing of it can fail for a peer's sake."""
        for place, value in self._places:
            place.copy_(value)
        for parameter, came in self._states:
            self._optimizer.state.pop(parameter, None)
            if came:
                self._optimizer.state[parameter] = {
                    name: value.to(place_of(self._optimizer, parameter, name)) if isinstance(value, Tensor) else value
                    for name, value in came.items()
                }


def share_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    *,
    source: int = 0,
    own_buffers: bool = False,
    more: Iterable[Tensor] = (),
    in_place: bool = False,
    local: LocalWeights = NONE,
) -> Incoming:
    """Give every rank the source's step, parameters, buffers, optimizer state and `more` tensors, all but what is
    `local`: that is only compared.

    `own_buffers`: this rank keeps its buffers; each rank's BatchNorm has statistics of its own samples. `in_place`: it
    has no state that counts, so it needs no room for another one beside it. Raises what a collective raises when a peer
    goes: without `in_place`, this rank's state is then what it was. Raises CheckpointError for a source whose local
    weights are others.
    """
    parameters = local.parameters(model)
    device = parameters[0].device
    sends = dist.get_rank() == source
    about = {"step": step, "optimizer": _describe(optimizer), "local": dict(local.table)}
    header = share_table(about if sends else None, device, source=source)
    if not sends:
        local.check(header["local"], "the state of the others")
    incoming = Incoming(step=int(header["step"]), _optimizer=optimizer)

    def share(tensor: Tensor, own: bool = False) -> None:
        away = tensor.device not in (device, _CPU)  # a buffer on another card of this rank
        if sends or (in_place and not own):
            on = tensor.to(device) if away else tensor
            dist.broadcast(on, source)
            if away and not sends:
                tensor.copy_(on)
            return
        value = torch.empty_like(tensor, device=device if away else None)
        dist.broadcast(value, source)
        if not own:
            incoming._places.append((tensor, _aside(value)))

    for weight in parameters:
        share(weight.detach())
    for buffer in local.buffers(model):
        share(buffer, own_buffers)
    for tensor in more:
        share(tensor)
    if in_place and not sends:
        optimizer.state.clear()
    for parameter, kinds in zip(_parameters(optimizer), header["optimizer"]):
        if sends:
            for name in kinds["tensors"]:
                dist.broadcast(optimizer.state[parameter][name].contiguous(), source)
            continue
        came: dict[str, Any] = dict(kinds["values"])
        for name, (dtype, shape) in kinds["tensors"].items():
            entry = torch.empty(shape, dtype=getattr(torch, dtype), device=place_of(optimizer, parameter, name))
            dist.broadcast(entry, source)
            came[name] = entry if in_place else _aside(entry)
        incoming._states.append((parameter, came))
    return incoming


_CPU = torch.device("cpu")


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


def _aside(tensor: Tensor) -> Tensor:
    """Where it waits for the others: in the host's memory, for a GPU's may have no room for two states."""
    return tensor.cpu()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def place_of(optimizer: torch.optim.Optimizer, parameter: Tensor, name: str) -> torch.device:
    """Where a tensor of an optimizer's state belongs: a count of steps stays on the CPU, unless the optimizer is fused
    or capturable, as in torch's own `load_state_dict`."""
    if name == "step":
        group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
        if not (group.get("fused") or group.get("capturable")):
            return torch.device("cpu")
    return parameter.device


def _describe(optimizer: torch.optim.Optimizer) -> list[dict[str, dict[str, Any]]]:
    """Of each parameter's state: dtype and shape of its tensors ("momentum_buffer", "exp_avg", …), and plain values."""
    described = []
    for parameter in _parameters(optimizer):
        state = sorted(optimizer.state.get(parameter, {}).items())
        tensors = {
            name: (str(value.dtype).removeprefix("torch."), list(value.shape))
            for name, value in state
            if isinstance(value, Tensor)
        }
        values = {name: value for name, value in state if not isinstance(value, Tensor)}
        described.append({"tensors": tensors, "values": values})
    return described
