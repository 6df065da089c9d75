"""What a `state_dict` holds, as JSON and a list of tensors: no pickle goes from host to host.

Optimizers, schedules, scalers and averages keep tensors, numbers, texts and the containers of these. Whatever else one
keeps is named in an error, with where it stands.

>>> text, tensors = packed({"step": 3, "betas": (0.9, 0.99), "average": torch.zeros(2)}, "the optimizer")
>>> unpacked(text, tensors)
{'step': 3, 'betas': (0.9, 0.99), 'average': tensor([0., 0.])}
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from motley.trainer.errors import SessionError

_PLAIN = (type(None), bool, int, float, str)
_TABLES: dict[str, type[dict[Any, Any]]] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
_ROWS: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set}


def packed(state: Any, what: str) -> tuple[str, list[Tensor]]:
    """JSON with a number in the place of each tensor. Raises SessionError for what is neither; `what` names it."""
    tensors: list[Tensor] = []
    return json.dumps(_packed(state, tensors, what)), tensors


def unpacked(text: str, tensors: Sequence[Tensor]) -> Any:
    return _unpacked(json.loads(text), tensors)


def _packed(value: Any, tensors: list[Tensor], where: str) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {"tensor": len(tensors) - 1}
    kind = type(value).__name__
    if isinstance(value, dict):
        items = [[_packed(k, tensors, where), _packed(v, tensors, f"{where}[{k!r}]")] for k, v in value.items()]
        return {kind if kind in _TABLES else "dict": items}
    if isinstance(value, (list, tuple, set)):
        return {kind if kind in _ROWS else "tuple": [_packed(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]}
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (bool, int, float, str)):  # of a class derived from these, as numpy's float64 is
        return next(plain(value) for plain in (bool, int, float, str) if isinstance(value, plain))
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise SessionError(
        f"the state of {where} is a {kind}, which can't go to another host",
        "Let its state_dict give tensors, numbers, texts, and lists and dicts of these",
    )


def _unpacked(value: Any, tensors: Sequence[Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dtype":
        return getattr(torch, content)
    if kind in _TABLES:
        return _TABLES[kind]({_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content})
    return _ROWS[kind](_unpacked(v, tensors) for v in content)
