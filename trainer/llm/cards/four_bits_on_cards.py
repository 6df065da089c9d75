"""Frozen weights of 4 bits on several cards of one rank: each layer is made on its own, so none needs room for all.

Where each layer is to lie follows from the model's shape alone, which is made on `meta` first: it takes no memory.

    >>> model, cards = on_cards(place, options, run, config, devices, dtype=torch.bfloat16)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.llm import libraries
from motley.trainer.llm.base_model import Place, base_model
from motley.trainer.llm.cards.card_of_layer import cards_of_layers, decoder_layers
from motley.trainer.llm.cards.layer_on_card import bring_to_layers
from motley.trainer.llm.options import Options
from motley.trainer.llm.quantised import four_bits


def on_cards(
    place: Place, options: Options, run: RunOptions, config: Any, devices: Sequence[torch.device], *, dtype: torch.dtype
) -> tuple[Any, tuple[int, ...]]:
    """The model, ready to compute, and the index of each layer's card in `devices`. Raises TaskError as `base_model`,
    and where it does not fit."""
    shape = shape_of(config, options, dtype)
    cards = cards_of_layers(shape, options, run, devices)
    places = places_of(shape, decoder_layers(shape), cards, devices)
    model = base_model(place, options, config, dtype=dtype, **four_bits(devices[0], dtype, places=places))
    libraries.accelerate().hooks.remove_hook_from_submodules(model)  # transformers has had it move what goes in
    bring_to_layers(decoder_layers(model), cards, devices)
    return model, cards


def shape_of(config: Any, options: Options, dtype: torch.dtype) -> Any:
    """The model without weights."""
    with torch.device("meta"):
        return libraries.transformers().AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=options.trust_remote_code
        )


def places_of(
    model: nn.Module, layers: Sequence[nn.Module], cards: Sequence[int], devices: Sequence[torch.device]
) -> dict[str, torch.device]:
    """Each layer's device by its name, and the first for every other module that holds something."""
    by_layer = {id(layer): devices[card] for layer, card in zip(layers, cards)}
    within = {id(module) for layer in layers for module in layer.modules()}
    found = {}
    for name, module in model.named_modules():
        holds = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        if id(module) in by_layer:
            found[name] = by_layer[id(module)]
        elif holds and id(module) not in within:
            found[name] = devices[0]
    return found
