"""The model that is trained, and its tokenizer: by a name of the hub, from a folder on the host, or one of the data.

>>> place = place_of(options, data_path)
>>> tokenizer = tokenizer_of(place, options)
>>> model = base_model(place, options, dtype=torch.float32)

A folder is read without asking anybody. Whatever is wrong with a model is a TaskError before the first step.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from motley.trainer.devices import accelerator
from motley.trainer.devices.memory_shortage import names_memory
from motley.trainer.errors import TaskError
from motley.trainer.llm import libraries
from motley.trainer.llm.options import Options

_OF_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")  # gpt2, HuggingFaceTB/SmolLM2-135M


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model is: `name` as transformers takes it."""

    name: str
    local: bool  # a folder on this host

    def given(self, options: Options) -> dict[str, Any]:
        """What every call of `from_pretrained` gets."""
        revision = {} if self.local or not options.revision else {"revision": options.revision}
        return {"local_files_only": self.local, "trust_remote_code": options.trust_remote_code, **revision}


def place_of(options: Options, data_path: Path | None) -> Place:
    """A folder of the data goes before a name of the hub. Raises TaskError for a folder that is not there, or holds no
    model."""
    given = options.model
    inside = data_path / given if data_path is not None else None
    if inside is not None and inside.is_dir():
        return _folder(inside)
    if given.startswith(("/", "~", "./", "../")):
        return _folder(Path(given).expanduser())
    if not _OF_HUB.fullmatch(given):
        where = f"nor a folder in {data_path}" if data_path is not None else "and there is no [data] push or path"
        raise TaskError(f"[task] model = {given!r} is no name of the hub, {where}", _NAMES)
    return Place(name=given, local=False)


def _folder(folder: Path) -> Place:
    if not folder.is_dir():
        raise TaskError(f"[task] model: there is no folder {folder} on this host", _NAMES)
    if not (folder / "config.json").is_file():
        gguf = next(folder.glob("*.gguf"), None)
        found = f"; {gguf.name} in it is of llama.cpp's format, which can't be trained" if gguf is not None else ""
        remedy = "Name a folder that save_pretrained wrote: config.json, model.safetensors, tokenizer.json"
        raise TaskError(f"[task] model: {folder} has no config.json{found}", remedy)
    return Place(name=str(folder), local=True)


_NAMES = "Name one of the hub (org/name), a folder on the hosts (/… or ~/…), or one in the folder of [data] push"


def tokenizer_of(place: Place, options: Options) -> Any:
    """With a padding token: its own, else the one that ends a text. Raises TaskError where it has neither."""
    with _said(place, "its tokenizer"):
        tokenizer: Any = libraries.transformers().AutoTokenizer.from_pretrained(place.name, **place.given(options))
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        remedy = 'Give it one in its tokenizer_config.json, such as "pad_token": "<pad>", a token of its vocabulary'
        raise TaskError(f"the tokenizer of {place.name} has no token for padding, and none that ends a text", remedy)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def config_of(place: Place, options: Options) -> Any:
    """What the model is, without dropout. Raises TaskError for one that is not causal, by its architecture."""
    transformers = libraries.transformers()
    with _said(place, "its config.json"):
        config: Any = transformers.AutoConfig.from_pretrained(place.name, **place.given(options))
    mapped = transformers.AutoModelForCausalLM._model_mapping
    own_code = options.trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    cls = mapped.get(type(config), None)
    names = [kind.__name__ for kind in (cls if isinstance(cls, tuple) else (cls,)) if kind is not None]
    called = [str(name) for name in (getattr(config, "architectures", None) or [])]
    causal = bool(names) and all(name in names or name.endswith("ForCausalLM") for name in called)
    if not own_code and (not causal or getattr(config, "is_encoder_decoder", False)):
        what = ", ".join(called) or type(config).__name__
        cause = f"{place.name} is no causal language model, but {what}"
        raise TaskError(cause, "Take one that continues text, whose config.json names an architecture …ForCausalLM")
    _without_dropout(config.get_text_config())
    _without_dropout(config)
    return config


def _without_dropout(config: Any) -> None:
    """A step then learns the same at any split. `lora_dropout` is of the adapter alone."""
    for key, value in list(vars(config).items()):
        if ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float):
            setattr(config, key, 0.0)


def base_model(place: Place, options: Options, config: Any, *, dtype: torch.dtype, **more: Any) -> Any:
    """Its weights read. `more`: of `from_pretrained`.

    Raises TaskError where they can't be had.
    """
    with _said(place, "its weights"):
        model: Any = libraries.transformers().AutoModelForCausalLM.from_pretrained(
            place.name, config=config, dtype=dtype, **place.given(options), **more
        )
    return model


def check_vocabulary(place: Place, model: Any, tokenizer: Any) -> None:
    """Raises TaskError for a tokenizer that knows more tokens than the model."""
    rows, tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    if tokens > rows:
        cause = f"the tokenizer of {place.name} has {tokens} tokens, the model's embedding {rows}"
        raise TaskError(cause, "Take the tokenizer that the model was trained with")


def dtype_of(options: Options, devices: Sequence[torch.device]) -> torch.dtype:
    """Of the weights. `auto`: those that are trained keep 32 bits, or small steps would be rounded away; frozen ones
    take bfloat16 where the rank's cards, mostly one, compute in it."""
    if options.dtype != "auto":
        return getattr(torch, options.dtype)  # type: ignore[no-any-return]
    short = options.method != "full" and all(accelerator.is_gpu(one) and accelerator.has_bf16(one) for one in devices)
    return torch.bfloat16 if short else torch.float32


@contextlib.contextmanager
def _said(place: Place, what: str) -> Iterator[None]:
    """What transformers raises there, as a TaskError; memory that runs out stays what it is."""
    try:
        yield
    except (TaskError, MemoryError):
        raise
    except Exception as error:  # it raises what its parts raise: OSError, ValueError, SafetensorError, …
        if names_memory(error):
            raise
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        cause = f"[task] model: {place.name}: {what} can't be had: {type(error).__name__}: {first}"
        remedy = "See that the folder is whole" if place.local else _HUB
        raise TaskError(cause, remedy) from error


_HUB = (
    "See that the name is right and this host reaches the hub (HF_TOKEN in pass_env for a model behind a licence), or "
    "bring the model along: a folder in [data] push"
)
