"""The state of all that was prepared, from one rank to the others: parameters, buffers, optimizers, schedules, scalers.

It is received beside what a rank has, and put in its place when all of it has come (`trainer.rank.kept_state`). Tensors
go one by one with their own dtype and shape, whatever an optimizer keeps; the rest as JSON.

>>> incoming = share_prepared(prepared, step=412, source=0, device=device)    # on every rank
>>> incoming.put()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.api.plain_state import packed, unpacked
from motley.trainer.api.prepared import Prepared, groups_of, parameters_of, put_groups
from motley.trainer.errors import SessionError
from motley.trainer.rank.share_state import place_of, share_table


@dataclass(frozen=True, slots=True, eq=False)
class IncomingPrepared:
    """A whole state that has come, of `step` completed steps. On the source nothing has to be put."""

    step: int
    _prepared: Prepared
    _places: list[tuple[Tensor, Tensor]]  # a tensor of a module, and what belongs into it
    _rest: dict[str, Any] | None

    @torch.no_grad()
    def put(self) -> None:
        for place, value in self._places:
            place.copy_(value)
        if self._rest is None:
            return
        for optimizer, came in zip(self._prepared.optimizers, self._rest["optimizers"]):
            optimizer.state.clear()
            for parameter, state in zip(parameters_of(optimizer), came["state"]):
                if state:
                    optimizer.state[parameter] = {
                        name: value.to(place_of(optimizer, parameter, name)) if isinstance(value, Tensor) else value
                        for name, value in state.items()
                    }
            put_groups(optimizer, came["groups"])
        for one, state in zip(self._prepared.others, self._rest["others"]):
            one.load_state_dict(state)


def share_prepared(
    prepared: Prepared, *, step: int, source: int, device: torch.device, own_buffers: bool = False
) -> IncomingPrepared:
    """`own_buffers`: this rank keeps its buffers, the statistics of its own samples.

    Raises what a collective raises when a peer goes, and SessionError when the script made something else here than on
    the source.
    """
    sends = dist.get_rank() == source
    places = [p.detach() for module in prepared.modules for p in module.parameters()]
    kept = len(places)
    places += [buffer for module in prepared.modules for buffer in module.buffers()]
    text, tensors = packed(_rest_of(prepared), "run.prepare") if sends else ("", [])
    shapes = [list(p.shape) for p in places]
    header = share_table(
        {"step": step, "text": text, "kinds": [_kind(t) for t in tensors], "shapes": shapes} if sends else None,
        device,
        source=source,
    )
    if header["shapes"] != shapes:
        raise SessionError(
            "the models given to run.prepare are not those of the other hosts",
            "Let the script make the same on each: nothing in it may depend on the host",
        )
    came: list[tuple[Tensor, Tensor]] = []
    for number, place in enumerate(places):
        value = place.contiguous() if sends else torch.empty_like(place, memory_format=torch.contiguous_format)
        dist.broadcast(value, source)
        if not sends and not (own_buffers and number >= kept):
            came.append((place, value.cpu()))
    for number, (dtype, shape, accelerated) in enumerate(header["kinds"]):
        on = device if accelerated else torch.device("cpu")
        if sends:
            dist.broadcast(tensors[number].contiguous(), source)
        else:
            value = torch.empty(shape, dtype=getattr(torch, dtype), device=on)
            dist.broadcast(value, source)
            tensors.append(value.cpu())
    rest = None if sends else unpacked(header["text"], tensors)
    return IncomingPrepared(int(header["step"]), prepared, came, rest)


def _rest_of(prepared: Prepared) -> dict[str, Any]:
    """What is no part of a module."""
    return {
        "optimizers": [
            {"groups": groups_of(one), "state": [one.state.get(p, {}) for p in parameters_of(one)]}
            for one in prepared.optimizers
        ],
        "others": [one.state_dict() for one in prepared.others],
    }


def _kind(tensor: Tensor) -> tuple[str, list[int], bool]:
    return str(tensor.dtype).removeprefix("torch."), list(tensor.shape), tensor.device.type != "cpu"
