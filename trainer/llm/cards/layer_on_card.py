"""Layers of a model that compute on another card than the rank's first.

What is trained stays on the first card, on every rank: the same tensors in the same order, whatever cards a rank has,
so that ranks with one card and ranks with several add up their gradients. A layer elsewhere gets a copy of it for as
long as it computes; the copy is part of the graph, so its gradient comes back to the first card by itself. Frozen
weights lie on the layer's card for good.

    >>> devices = [torch.device("cuda:0"), torch.device("cuda:1")]
    >>> put(model, layers, (0, 0, 1, 1), devices)
    >>> bring_to_layers(layers, (0, 0, 1, 1), devices)

What goes into a layer is moved to its card before it is called, and what comes out of the last one back to the first
card. Nothing has to be said of devices in the model itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary


class Mover:
    """Brings tensors to a device, those without a gradient once for all layers there: positions, a mask."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._brought = WeakTensorKeyDictionary()

    def __deepcopy__(self, _memo: dict[int, Any]) -> Mover:
        return Mover(self.device)

    def __call__(self, given: Any) -> Any:
        """Of tuples, lists and dicts what is in them. Whatever else there is stays: a cache of keys and values has
        those of each layer where it computes."""
        if isinstance(given, Tensor):
            return self._moved(given)
        if type(given) in (tuple, list):
            return type(given)(map(self, given))
        if type(given) is dict:
            return {name: self(value) for name, value in given.items()}
        return given

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.device == self.device:
            return tensor
        if tensor.requires_grad or tensor.is_inference():
            return tensor.to(self.device)
        version, found = self._brought.get(tensor, (None, None))
        if found is None or version != tensor._version:  # changed in its place since
            found = tensor.to(self.device)
            self._brought[tensor] = (tensor._version, found)
        return found  # type: ignore[no-any-return]


def bring_to_layers(layers: Sequence[nn.Module], cards: Sequence[int], devices: Sequence[torch.device]) -> None:
    """From now on each layer is brought what it needs: `cards` are indices of `devices`, in ascending order."""
    movers = {card: Mover(devices[card]) for card in set(cards)}
    for layer, card in zip(layers, cards):
        if card:
            layer.forward = functools.partial(_with_weights, layer, layer.forward, devices[card])
            layer.register_forward_pre_hook(functools.partial(_move_inputs, movers[card]), with_kwargs=True)
    if cards and cards[-1]:
        layers[-1].register_forward_hook(functools.partial(_move_outputs, Mover(devices[0])))


def put(model: nn.Module, layers: Sequence[nn.Module], cards: Sequence[int], devices: Sequence[torch.device]) -> None:
    """What is trained, and what is in none of the layers, onto the first card; the frozen rest of each layer onto its
    own."""
    within = {id(module) for layer in layers for module in layer.modules()}
    for module in model.modules():
        if id(module) not in within:
            _put(module, trained=devices[0], frozen=devices[0], recurse=False)
    for layer, card in zip(layers, cards):
        _put(layer, trained=devices[0], frozen=devices[card])


def _put(module: nn.Module, *, trained: torch.device, frozen: torch.device, recurse: bool = True) -> None:
    """As `module.to` does it."""

    def placed(tensor: Tensor) -> Tensor:
        device = trained if tensor.requires_grad else frozen
        return tensor if tensor.device == device else tensor.to(device)

    module._apply(placed, recurse=recurse)


def _move_inputs(
    mover: Mover, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return mover(args), mover(kwargs)


def _move_outputs(mover: Mover, _layer: nn.Module, _args: tuple[Any, ...], outputs: Any) -> Any:
    return mover(outputs)


def _with_weights(
    layer: nn.Module, forward: Callable[..., Any], device: torch.device, *args: Any, **kwargs: Any
) -> Any:
    with _weights_on(layer, device):
        return forward(*args, **kwargs)


@contextmanager
def _weights_on(layer: nn.Module, device: torch.device) -> Iterator[None]:
    """Copies of what lies elsewhere, in its place, for as long as it takes."""
    away = [
        (module, name, weight)
        for module in layer.modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight.device != device
    ]
    try:
        for module, name, weight in away:
            module._parameters[name] = weight.to(device)  # type: ignore[assignment]
        yield
    finally:
        for module, name, weight in away:
            module._parameters[name] = weight
