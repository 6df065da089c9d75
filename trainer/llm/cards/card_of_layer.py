"""Which card of a rank each layer of a language model lies on, by what is free on each.

    >>> cards_of_layers(task.config, options, run, devices, layers)
    (0, 0, 0, 1, 1)

What a row takes is said by the model's config.json, where its sizes are known (`profiles.language_models.memory`); else
its weights alone count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn

from motley.profiles.language_models.fit import SHORTEST
from motley.profiles.language_models.memory import OF_4_BITS, Architecture, Training
from motley.profiles.language_models.split import Load, load_of, misfit, share_out
from motley.trainer.contract.spec import RunOptions
from motley.trainer.devices import accelerator
from motley.trainer.errors import TaskError
from motley.trainer.llm.memory import architecture_of, free_bytes
from motley.trainer.llm.options import Options

_TRAINED = 5  # times what learns: itself, its gradient, the reducer's, and two averages


def decoder_layers(model: Any) -> list[nn.Module]:
    """Of a causal model of transformers, without what peft puts around it. Raises TaskError where it has none that are
    known."""
    count = int(getattr(model.config.get_text_config(), "num_hidden_layers", 0))
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count > 0:
            return list(module)
    cause = f"{type(model).__name__} keeps its layers in a way that is not known, so they can't lie on several cards"
    raise TaskError(cause, "Give its rank one card: devices without a list in it")


def cards_of_layers(
    model: Any,
    options: Options,
    run: RunOptions,
    devices: Sequence[torch.device],
    *,
    free: Callable[[torch.device], int] = free_bytes,
) -> tuple[int, ...]:
    """Indices of `devices`, one for each layer, in ascending order. `model`: of transformers, wherever its weights are;
    on `meta`, they are still to come, in 4 bits.

    Raises TaskError where not even the shortest row fits, with what takes how much.
    """
    rooms, names = [free(device) for device in devices], [str(device) for device in devices]
    loads = _loads(model, options, run, bf16=all(map(_has_bf16, devices)))
    splits = [share_out(rooms, load) for load in loads]
    found = next((split for split in splits if split.fullest <= 1), None)
    if found is None:
        cause = f"{options.model} does not fit on {' and '.join(names)} together: "
        remedy = 'Take more cards or a smaller model, or weights of 4 bits: [task] method = "qlora"'
        raise TaskError(cause + misfit(names, rooms, loads[-1], splits[-1]), remedy)
    return found.cards


def told(cards: Sequence[int], devices: Sequence[torch.device]) -> str:
    """For the log.

    >>> told((0, 0, 1), [torch.device("cuda:0"), torch.device("cuda:1")])
    'layers 1 to 2 on cuda:0, 3 to 3 on cuda:1'
    """
    parts, first = [], 1
    for card, group in groupby(cards):
        count = len(list(group))
        parts.append(f"{first} to {first + count - 1} on {devices[card]}")
        first += count
    return f"layers {', '.join(parts)}"


def _has_bf16(device: torch.device) -> bool:
    return accelerator.is_gpu(device) and accelerator.has_bf16(device)


def _loads(model: Any, options: Options, run: RunOptions, *, bf16: bool) -> list[Load]:
    """For rows of `length` tokens, then for ever shorter ones."""
    layers = decoder_layers(model)
    sizes = architecture_of(model.config)
    if sizes is None or sizes.layers != len(layers):
        return [_of_weights(model, layers, four_bits=options.method == "qlora")]
    how = Training.of(
        dataclasses.asdict(options), precision=run.precision, checkpointing=run.activation_checkpointing, bf16=bf16
    )
    return [_of_row(sizes, how, length) for length in _lengths(how.length)]


def _lengths(longest: int) -> list[int]:
    found = [longest]
    while found[-1] // 2 >= SHORTEST:
        found.append(found[-1] // 2)
    return found


def _of_row(sizes: Architecture, how: Training, length: int) -> Load:
    return load_of(sizes, dataclasses.replace(how, length=length))


def _of_weights(model: nn.Module, layers: Sequence[nn.Module], *, four_bits: bool) -> Load:
    """Of a model whose sizes its config.json does not say in a way that is known."""
    linear = {id(m.weight) for layer in layers for m in layer.modules() if isinstance(m, nn.Linear)}

    def size(module: nn.Module, *, trained: bool) -> int:
        of_4_bits = four_bits and next(module.parameters()).is_meta
        total = 0.0
        for weight in (*module.parameters(), *module.buffers()):
            if weight.requires_grad is trained or (of_4_bits and not trained):
                whole = not (of_4_bits and id(weight) in linear)
                total += weight.numel() * (weight.element_size() if whole else OF_4_BITS)
        return int(total)

    frozen = [size(layer, trained=False) for layer in layers]
    trained = 0 if next(model.parameters()).is_meta else size(model, trained=True)
    return Load(
        first=size(model, trained=False) - sum(frozen) + _TRAINED * trained,
        layers=tuple(frozen),
        copies=tuple(2 * size(layer, trained=True) if trained else 0 for layer in layers),
    )
