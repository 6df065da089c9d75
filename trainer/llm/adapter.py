"""LoRA (Hu et al. 2021) by peft: two thin matrices beside each chosen layer learn, all else is frozen.

>>> model = with_adapter(model, options)
>>> [name for name, p in model.named_parameters() if p.requires_grad][0]
'base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight'
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from motley.trainer.errors import TaskError
from motley.trainer.llm import libraries
from motley.trainer.llm.options import Options

ALL = "all-linear"  # every linear layer but the output's
TRANSPOSED = "Conv1D"  # GPT-2's linear layers: their matrices lie the other way round


def with_adapter(model: Any, options: Options) -> Any:
    """A `PeftModel` around `model`, whose weights are frozen. The adapter's are float32, or float64 where the model's
    are. Raises TaskError for a target that no layer is called by, or that has no adapter."""
    peft = libraries.peft()
    targets = list(options.lora_targets)
    if targets != [ALL]:
        check_targets(model, targets)
    config = peft.LoraConfig(
        r=options.lora_rank, lora_alpha=options.lora_alpha, lora_dropout=options.lora_dropout,
        target_modules=ALL if targets == [ALL] else targets, bias="none", task_type="CAUSAL_LM",
        fan_in_fan_out=any(type(module).__name__ == TRANSPOSED for module in model.modules()),
    )  # fmt: skip
    double = any(p.dtype == torch.float64 for p in model.parameters())
    try:
        found = peft.get_peft_model(model, config)
    except ValueError as error:  # a layer that is no matrix, such as a norm
        first = (str(error).strip().splitlines() or [""])[0]
        raise TaskError(f"[task] lora_targets: {first}", _remedy(model)) from error
    for parameter in found.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float64 if double else torch.float32)
    return found


def check_targets(model: nn.Module, targets: list[str]) -> None:
    """As peft does it: a target is the end of a layer's name."""
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise TaskError(f"[task] lora_targets: the model has no layer {target}", _remedy(model))
    if not targets:
        raise TaskError("[task] lora_targets is empty", _remedy(model))


def _remedy(model: nn.Module) -> str:
    return f"Its linear layers are {', '.join(linear_layers(model))}; or {ALL} for all but the output's"


def linear_layers(model: nn.Module) -> list[str]:
    """The ends of their names, each once, in the order of the model."""
    found = [
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == TRANSPOSED
    ]
    return list(dict.fromkeys(found))
