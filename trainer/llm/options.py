"""The keys of `[task]` for `task = "causal_lm"`. Standard library only: `motley check` reads it without torch.

    [task]
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    train = "train.jsonl"

Defaults are those that the guides for cards of 8 to 16 GB give: LoRA of rank 16 on q_proj and v_proj, rows of at most
2,048 tokens. What is not of this task alone (learning rate, epochs, accumulation) is in `[run]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motley.trainer.contract.task_parameters import Misfit, options_of
from motley.trainer.errors import TaskError

METHODS = ("full", "lora", "qlora")
FORMATS = ("auto", "text", "question_answer", "prompt_completion", "chat")
LOSS_ON = ("answers", "all")
OPTIMIZERS = ("adamw", "adamw_8bit", "paged_adamw_8bit")
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lengths are in tokens, `max_tokens` of generations too."""

    model: str  # a name of the hub, a folder on the hosts, or one in [data] push
    train: str  # .jsonl, .json, .parquet, .txt: from [data] push or path; a folder on the hosts with /
    test: str = ""  # held-out rows; empty: `test_fraction` of `train`
    test_fraction: float = 0.05  # of the rows of `train`, spread evenly, where `test` is empty; 0: no evaluation
    format: str = "auto"  # of a row: one of FORMATS; auto: by its fields
    fields: tuple[str, ...] = ()  # names of the row's fields, where they are others: text; question, answer; messages
    method: str = "lora"
    length: int = 2048  # what a row has beyond it is cut off, and counted
    packing: bool = False  # several rows in one of `length`, each seeing itself alone
    loss_on: str = "answers"  # answers: of a question's row, its answer alone; all: every token
    system: str = ""  # a system message that begins each chat made of a question
    dtype: str = "auto"  # of the frozen weights; auto: bfloat16 on a card that has it, else float32
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    optimizer: str = "adamw"  # 8-bit and paged ones on CUDA
    loss_chunk: int = 1024  # tokens whose logits are held at once; 0: all of them
    generate: tuple[str, ...] = ()  # prompts that are answered at each evaluation; empty: the first three held-out ones
    max_tokens: int = 48  # of an answer to them
    revision: str = ""  # of a model of the hub
    trust_remote_code: bool = False  # true: code that comes with a model of the hub is run

    def __post_init__(self) -> None:
        """Raises TaskError that names the key and what it may be."""
        for key, known in (
            ("method", METHODS), ("format", FORMATS), ("loss_on", LOSS_ON), ("optimizer", OPTIMIZERS),
            ("dtype", DTYPES),
        ):  # fmt: skip
            if getattr(self, key) not in known:
                cause = f"[task] {key} = {getattr(self, key)!r}: there is no such {key}"
                raise TaskError(cause, f"It is one of {', '.join(known)}")
        for key, least in (("length", 2), ("lora_rank", 1), ("lora_alpha", 1), ("max_tokens", 1), ("loss_chunk", 0)):
            if getattr(self, key) < least:
                raise TaskError(f"[task] {key} = {getattr(self, key)}: must be at least {least}", "Change it")
        for key in ("test_fraction", "lora_dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise TaskError(f"[task] {key} = {getattr(self, key)}: must be at least 0 and below 1", "Change it")


def problems(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with `[task]`, for whoever reads cluster.toml: the key, empty where one is missing, and the words.

    >>> problems({"model": "gpt2", "train": "a.jsonl", "method": "dora"})
    [('method', "'dora': there is no such method; it is one of full, lora, qlora")]
    """
    try:
        options_of(Options, parameters, "causal_lm")
    except Misfit as error:
        return [(error.key, _said(error.cause, error.remedy, error.key))]
    except TaskError as error:
        key = error.cause.removeprefix("[task] ").partition(" ")[0].rstrip(":")
        return [(key, _said(error.cause, error.remedy, key))]
    return []


def _said(cause: str, remedy: str, key: str) -> str:
    """An error of a host's, as those of cluster.toml are put: behind the key."""
    text = cause.removeprefix("[task] ").removeprefix(key).lstrip(" :=")
    return f"{text}; {remedy[:1].lower()}{remedy[1:]}"
