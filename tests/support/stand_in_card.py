"""A second device for tests on a CPU: `card:0`, whose tensors are computed on the CPU but are not there.

What torch does with tensors of two devices it does here: an operation on tensors of both raises, a copy from one to the
other is part of the graph, and the gradient comes back by it. torch's own way to write a device in Python; it stays for
as long as the process lives, so only processes that are made for it should `begin`.

    >>> begin()
    >>> torch.ones(2).to(CARD).device
    device(type='card', index=0)
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "card"
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_keeps: list[Any] = []  # what is registered goes with the object that it was registered by
moves: list[torch.device] = []  # where each copy between the devices went


class OnCard(Tensor):
    """`held`: the same on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> OnCard:
        made: OnCard = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            dtype=held.dtype,
            device=device,
            storage_offset=held.storage_offset(),
        )
        made.held = held
        return made

    def __init__(self, *_: Any) -> None:
        """torch has made it."""

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["held"], self.device

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], device: Any, *_: Any) -> OnCard:
        return OnCard(inner["held"], device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func.namespace == "c10d":
            raise RuntimeError(f"a group that was made for another device carries nothing of {NAME} ({func})")
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device for tensor in tensors if tensor.dim() or isinstance(tensor, OnCard)}
        if func not in _COPIES and not func.__name__.startswith("_foreach") and len(devices) > 1:
            both = " and ".join(sorted(map(str, devices)))
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {both} ({func})")
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if func is _aten.copy_.default:
            if args[0].device != args[1].device:
                moves.append(args[0].device)
            return args[0]
        device = torch.device(asked) if asked is not None else next(t.device for t in tensors if isinstance(t, OnCard))
        if device.type != NAME:
            moves.append(device)
            return out
        wrapped = tree_map(lambda leaf: OnCard(leaf, device) if isinstance(leaf, Tensor) else leaf, out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


class Module(_DummyBackendModule):
    """What torch asks a kind of device for. Random numbers are the CPU's."""

    def device(self, _device: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def get_rng_state(self, _device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, _device: Any = None) -> None:
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnCard) else leaf


def begin() -> torch.device:
    """From now on this process has it."""
    if not _keeps:
        _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
        library = torch.library.Library("aten", "IMPL")
        library.impl("empty.memory_format", _empty, "PrivateUse1")
        library.impl("empty_strided", _empty_strided, "PrivateUse1")
        library.impl("_copy_from", _copy_from, "PrivateUse1")
        _keeps.append(library)
    return torch.device(NAME, 0)


def _empty(size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    return OnCard(torch.empty(size, dtype=dtype), device)


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    return OnCard(torch.empty_strided(size, stride, dtype=dtype), device)


def _copy_from(source: Tensor, to: Tensor, _non_blocking: bool = False) -> Tensor:
    _held(to).copy_(_held(source))
    return to
