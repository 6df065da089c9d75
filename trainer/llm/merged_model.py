"""A whole model written by transformers: trained whole, or an adapter merged into its base model by peft. On the CPU.

>>> write_merged(options, folder, adapter_files(options, weights), room, check)
>>> sorted(path.name for path in room.iterdir())
['config.json', 'generation_config.json', 'model.safetensors']

The base model's weights are read in the type in which they were published: so an adapter that was trained on those in
4 bits is merged into the ones that these were made of.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from motley.trainer.errors import TaskError
from motley.trainer.llm import libraries
from motley.trainer.llm.options import Options


def write_merged(
    options: Options,
    folder: Path | None,
    adapter: Mapping[str, Any],
    room: Path,
    check: Callable[[nn.Module], object],
) -> None:
    """`adapter`: the files of `exported.adapter_files`; `check`: hears of the base model with the adapter beside it.

    Raises TaskError for a library that is missing and a base model that can't be read, and what `check` raises.
    """
    transformers, peft, safetensors = map(_library, ("transformers", "peft", "safetensors.torch"))
    with tempfile.TemporaryDirectory(dir=room) as beside:
        for name, content in adapter.items():
            if isinstance(content, bytes):
                (Path(beside) / name).write_bytes(content)
            else:
                tensors = {key: value.contiguous() for key, value in content.items()}
                safetensors.save_file(tensors, Path(beside) / name, {"format": "pt"})
        with _read(options):
            base = transformers.AutoModelForCausalLM.from_pretrained(
                _name(options, folder), dtype="auto", **_given(options)
            )
            model = peft.PeftModel.from_pretrained(base, beside)
        check(model)
        model.merge_and_unload().save_pretrained(room)


def write_full(options: Options, folder: Path | None, weights: Mapping[str, Tensor], room: Path) -> None:
    """Of a model that was trained whole: its own weights in its base model's shape. Raises TaskError as above."""
    transformers = _library("transformers")
    with _read(options):
        config = transformers.AutoConfig.from_pretrained(_name(options, folder), **_given(options))
        dtype = next(value.dtype for value in weights.values() if value.is_floating_point())
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        cause = f"the checkpoint does not fit to {options.model}: {_first(error)}"
        raise TaskError(cause, "Give it the model that was trained") from error
    model.save_pretrained(room)
    if folder is not None and (folder / "generation_config.json").is_file():
        shutil.copy(folder / "generation_config.json", room / "generation_config.json")


def _name(options: Options, folder: Path | None) -> str:
    return str(folder) if folder is not None else options.model


def _given(options: Options) -> dict[str, Any]:
    return {
        "trust_remote_code": options.trust_remote_code,
        **({"revision": options.revision} if options.revision else {}),
    }


def _library(name: str) -> Any:
    remedy = "Export it where a host that trained answers; or without --merge, and merge with peft where you have it"
    return libraries.imported(name, "writing a whole model", remedy)


@contextlib.contextmanager
def _read(options: Options) -> Iterator[None]:
    try:
        yield
    except (TaskError, MemoryError):
        raise
    except Exception as error:  # transformers raises what its parts raise
        cause = f"the base model {options.model} can't be read there: {type(error).__name__}: {_first(error)}"
        raise TaskError(cause, "Bring a host up that has it, and export again") from error


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
