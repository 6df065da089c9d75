"""What of a language model fits into the memory of this device, said before it is loaded. `trainer.verbs.trial` asks.

>>> expected(task, run, torch.device("cuda"))
Expected(mib=7104, length=2048, told='7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would …')
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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


def expected(
    task: Any, run: RunOptions, device: torch.device, *, beside: Sequence[torch.device] = (), ranks: int = 1
) -> Expected | None:
    """None where the model's sizes are not known. `task`: a `CausalLM`; `beside`: further cards of the same rank;
    `ranks`: of this host, which share its memory.

    Raises TaskError as reading the model's config.json does.
    """
    devices = (device, *beside)
    rooms_mib = [free_bytes(one, ranks=ranks) / 2**20 for one in devices]
    model = architecture_of(task.config)
    if model is None:  # no decoder whose sizes are known here: what it takes is seen when it runs
        return None
    try:
        how = Training.of(
            dataclasses.asdict(task.options), precision=run.precision, checkpointing=run.activation_checkpointing,
            bf16=all(accelerator.is_gpu(one) and accelerator.has_bf16(one) for one in devices),
        )  # fmt: skip
    except ValueError:
        return None
    return Expected(
        mib=needed_mib(model, how, rooms_mib=rooms_mib), length=how.length,
        told=told(model, how, room_mib=rooms_mib[0], more_mib=rooms_mib[1:]),
    )  # fmt: skip


def free_bytes(device: torch.device, *, ranks: int = 1) -> int:
    """Of a GPU's memory, with what this process has of it; of the host's, an equal part for each of its `ranks`."""
    if accelerator.is_gpu(device):
        return accelerator.room_bytes(device)
    return int((probe().mem_available_mib or 0.0) * 2**20 / ranks)


def architecture_of(config: Any) -> Architecture | None:
    """Of a configuration as transformers has it; None where its sizes are not known."""
    try:
        return Architecture.of(config.to_dict())
    except ValueError:
        return None
