"""A tiny Llama with a tokenizer of words, made here and written as `save_pretrained` does, and token rows for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import INCLUDED, OwnTask
from motley.trainer.tasks import load
from motley.trainer.tasks.task import Task

WORDS = (
    "red", "green", "blue", "the", "cat", "dog", "sat", "ran", "on", "mat", "hill", "what", "is", "who", "did", "why",
    "yes", "no", "it", "he", "she", "small", "big", "old", "new",
)  # fmt: skip
CHAT = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </s>{% endfor %}"


def write_tokenizer(folder: Path, **special: str) -> Any:
    """Of 32 words, with a padding token and one that ends a text unless `special` says otherwise."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", "<user>", "<assistant>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **special}
    given = {key: value for key, value in given.items() if value}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given)
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return fast


def write_llama(folder: Path, **config: Any) -> Path:
    """Two layers of 32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder)
    torch.manual_seed(7)
    shape = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, **{"num_hidden_layers": 2, **config},
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def rows_of(count: int, *, seed: int = 3, masked: tuple[int, ...] = ()) -> list[dict[str, Tensor]]:
    """Random tokens, 3 to 20 a row; of each the first labels don't count, of `masked` rows none does."""
    random, rows = torch.Generator().manual_seed(seed), []
    for number in range(count):
        length = int(torch.randint(3, 21, (), generator=random))
        tokens = torch.randint(5, 64, (length,), generator=random)
        labels = tokens.clone()
        labels[: length if number in masked else int(torch.randint(0, length - 1, (), generator=random))] = -100
        rows.append({"input_ids": tokens, "labels": labels})
    return rows


def causal_lm(
    model: Path, rows: list[dict[str, Tensor]] | None = None, run: RunOptions | None = None, **task: Any
) -> Task:
    """The task, as a rank loads it, on these rows in place of a file's."""
    ours = INCLUDED["causal_lm"]
    parameters = {"model": str(model), "train": "none.jsonl", **task}
    own = OwnTask(tree="", module=ours.module, name=ours.name, parameters=parameters)
    cpu = torch.device("cpu")
    found = load(run or RunOptions(task="causal_lm"), DataOptions(), lambda *_: None, own, device=cpu)
    if rows is not None:
        found.__dict__["rows"] = SimpleNamespace(train=Listed(rows), test=None, told="", identity={})
    return found


class Listed(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, rows: list[dict[str, Tensor]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return self.rows[number]

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([len(row["input_ids"]) for row in self.rows])


def written_out(model: Any, rows: list[dict[str, Tensor]]) -> tuple[Tensor, int]:
    """The summed loss of rows, each by itself and as one writes it by hand, and how many labels that is of."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        logits = model(input_ids=row["input_ids"][None]).logits[0, :-1]
        wanted = row["labels"][1:]
        likely = torch.log_softmax(logits, dim=1)
        for position in (wanted != -100).nonzero().flatten().tolist():
            total = total - likely[position, wanted[position]]
            count += 1
    return total, count


def with_some_adapter(model: Any) -> None:
    """The second matrix of an adapter begins as 0, and the first, which is random, would have no gradient: other values
    for both, always the same."""
    random = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype) * 0.1
