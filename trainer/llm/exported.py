"""A trained language model as a folder for others: an adapter as peft reads it, or a whole model as transformers does.

>>> files, notes = exported(options, data_path, weights, about, room)
>>> sorted(files)
['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'tokenizer.json', …]

An adapter takes no library of Hugging Face's: what it is follows from `[task]` and from the names of its weights. A
whole one takes transformers, and peft where an adapter is merged into its base model (`merged_model`).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from motley.trainer.errors import TaskError
from motley.trainer.llm.model_card import card
from motley.trainer.llm.model_folder import folder_of, tokenizer_files
from motley.trainer.llm.options import Options

ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
File = bytes | Path | Mapping[str, Tensor]  # tensors: to be written as safetensors

_ADAPTER_NAME = re.compile(r"\.default(?=\.|$)")  # peft's name of the only one, which its files leave out
_TARGET = re.compile(r"\.([^.]+)\.lora_(?:embedding_)?A\b")


def metadata(options: Options) -> dict[str, Any]:
    """What a checkpoint says of its settings, for `Task.metadata`."""
    return {"parameters": dataclasses.asdict(options)}


def options_of(parameters: Mapping[str, Any]) -> Options:
    """From `[task]`, or from what `metadata` has told. Raises TaskError for what are none."""
    try:
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}
        return Options(**given)
    except TypeError as error:
        raise TaskError(
            f"[task] of the run is of another version: {error}", "Export it with the Motley of then"
        ) from error


def exported(
    options: Options,
    data_path: Path | None,
    weights: Mapping[str, Tensor],
    about: Mapping[str, Any],
    room: Path,
    *,
    merge: bool = False,
    check: Callable[[nn.Module], object] = lambda _: None,
) -> tuple[dict[str, File], list[str]]:
    """The files by name, and what could not be had. `weights`: of the checkpoint; `room`: an empty folder; `merge`: a
    whole model in place of an adapter; `check`: looks at the base model before it is merged.

    Raises TaskError where the base model or a library is missing, or the weights are no adapter's.
    """
    folder = folder_of(options, data_path)
    whole = merge or options.method == "full"
    files: dict[str, File] = {}
    if whole:
        from motley.trainer.llm.merged_model import write_full, write_merged

        if options.method == "full":
            write_full(options, folder, weights, room)
        else:
            write_merged(options, folder, adapter_files(options, weights), room, check)
        files |= {path.name: path for path in sorted(room.iterdir()) if path.is_file()}
    else:
        files |= adapter_files(options, weights)
    tokenizer = tokenizer_files(folder) if folder is not None else {}
    files |= tokenizer
    files["README.md"] = card(options, about, whole=whole).encode()
    notes = []
    if not tokenizer:
        notes.append(f"the tokenizer is left out, as {options.model} is not there: it is the base model's, unchanged")
    return files, notes


def adapter_files(options: Options, weights: Mapping[str, Tensor]) -> dict[str, File]:
    """The weights under peft's names, and its config. Raises TaskError for weights that are no adapter's."""
    found = {_ADAPTER_NAME.sub("", name): value for name, value in weights.items() if "lora_" in name}
    if not found:
        raise TaskError("the checkpoint holds no weights of an adapter", "Set [task] method back to what it was")
    config = json.dumps(adapter_config(options, list(found)), indent=2, sort_keys=True)
    return {ADAPTER: found, CONFIG: f"{config}\n".encode()}


def adapter_config(options: Options, names: list[str]) -> dict[str, Any]:
    """As peft's `LoraConfig` writes it. `names`: of the adapter's weights, which say what `all-linear` came to."""
    targets = list(options.lora_targets)
    if targets == ["all-linear"]:
        targets = sorted({match[1] for name in names if (match := _TARGET.search(name))})
    return {
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": options.model, "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "lora_alpha": options.lora_alpha,
        "lora_dropout": options.lora_dropout, "modules_to_save": None, "peft_type": "LORA", "r": options.lora_rank,
        "rank_pattern": {}, "revision": options.revision or None, "target_modules": targets,
        "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": False,
    }  # fmt: skip
