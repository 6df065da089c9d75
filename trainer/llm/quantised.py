"""Frozen weights of 4 bits (QLoRA, Dettmers et al. 2023): NF4 with double quantisation, by bitsandbytes.

>>> base_model(place, options, config, dtype=dtype, **four_bits(device, dtype))

They are made on the device that computes with them, layer by layer: never is there room needed for all of them in 16
bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from motley.trainer.devices.names import has_eight_bit_optimizers
from motley.trainer.errors import TaskError
from motley.trainer.llm import libraries


def four_bits(
    device: torch.device, dtype: torch.dtype, *, places: Mapping[str, torch.device] | None = None
) -> dict[str, Any]:
    """Arguments of `from_pretrained`. `dtype`: what is computed in. `places`: where each part of the model is to lie,
    by its name, in place of `device` for all. Raises TaskError for a device that can't."""
    libraries.accelerate()
    for one in {device, *(places or {}).values()}:
        check_four_bits(one, dtype)
    config = libraries.transformers().BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": dict(places or {"": device})}


def check_four_bits(device: torch.device, dtype: torch.dtype) -> None:
    """By doing it once: 64 x 64 weights to 4 bits and back, on the device."""
    if dtype == torch.float64:
        raise TaskError('[task] dtype = "float64": 4 bits are computed in at most 32', 'Set dtype = "float32"')
    functional = libraries.bitsandbytes().functional
    try:
        weights = torch.linspace(-1, 1, 64 * 64, dtype=dtype).reshape(64, 64).to(device)
        packed, state = functional.quantize_4bit(weights, compress_statistics=True, quant_type="nf4")
        good = torch.allclose(functional.dequantize_4bit(packed, state), weights, atol=0.2)
        why = "" if good else "it gives other weights back"
    except Exception as error:  # noqa: BLE001 - of a kernel, a driver or a library that is missing
        why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    if why:
        version = libraries.versions().get("bitsandbytes", "")
        cause = f'method = "qlora": bitsandbytes {version} can\'t compute with 4 bits on {device} here ({why})'
        remedy = 'Set method = "lora", or leave this device out (devices); cards need compute capability 6.0 or newer'
        raise TaskError(cause, remedy)


def short_optimizer(name: str, parameters: list[Any], device: torch.device, *, rate: float, decay: float) -> Any:
    """`adamw_8bit` or `paged_adamw_8bit`: AdamW whose averages take 8 bits, paged ones in the host's memory where the
    card's is full. Raises TaskError on another device than an NVIDIA card."""
    if not has_eight_bit_optimizers(device.type):
        cause = f"[task] optimizer = {name!r} is for NVIDIA cards, and this rank computes on {device}"
        raise TaskError(cause, 'Set optimizer = "adamw"')
    kinds = {"adamw_8bit": "AdamW8bit", "paged_adamw_8bit": "PagedAdamW8bit"}
    cls = getattr(libraries.bitsandbytes().optim, kinds[name])
    return cls(parameters, lr=rate, weight_decay=decay)
