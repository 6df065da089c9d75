"""What of a language model fits into the memory of this device, said before it is loaded. `trainer.verbs.trial` asks.

>>> expected(task, run, torch.device("cuda"))
Expected(mib=7104, length=2048, told='7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would …')
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from motley.profiles.hardware import probe
from motley.profiles.language_models.fit import needed_mib, told
from motley.profiles.language_models.memory import Architecture, Training
from motley.trainer.contract.spec import RunOptions
from motley.trainer.devices import accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    mib: int  # for one row of `length` tokens
    length: int
    told: str


def expected(task: Any, run: RunOptions, device: torch.device, *, ranks: int = 1) -> Expected | None:
    """None where the model's sizes are not known. `task`: a `CausalLM`; `ranks`: of this host, which share its memory.

    Raises TaskError as reading the model's config.json does.
    """
    gpu = accelerator.is_gpu(device)
    room_mib = accelerator.room_bytes(device) / 2**20 if gpu else (probe().mem_available_mib or 0.0) / ranks
    try:
        model = Architecture.of(task.config.to_dict())
        how = Training.of(
            dataclasses.asdict(task.options), precision=run.precision, checkpointing=run.activation_checkpointing,
            bf16=gpu and accelerator.has_bf16(device),
        )  # fmt: skip
    except ValueError:  # no decoder whose sizes are known here: what it takes is seen when it runs
        return None
    return Expected(mib=needed_mib(model, how), length=how.length, told=told(model, how, room_mib=room_mib))
