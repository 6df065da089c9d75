"""Greedy answers of a causal language model, for people to read after each evaluation.

>>> prompts = [asked(tokenizer, "What is a rank?"), of_row(tokenizer, rows.test[0])]
>>> greedy_answers(model, tokenizer, prompts, max_tokens=48)
[('What is a rank?', 'One process of a group.'), ('user\\nWhy?', 'Because it is slow.')]

Always the most likely token: the same model says the same each time, and no random number is drawn. Imports nothing of
transformers: whoever has a model of its kind has it already.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MASKED = -100  # a label that does not count
WITHIN_S = 60.0  # for all answers together: other ranks wait for them
CUT = "…"  # ends an answer that the model had not ended
OPENING = 32  # tokens of a text that are given, where nothing in it is a question


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """`text`: as people read it; `ids`: as the model does, int64 [L], L at least 1."""

    text: str
    ids: Tensor


def asked(tokenizer: Any, question: str, *, system: str = "") -> Prompt:
    """A question as the tokenizer's chat template writes it; without a template the text as it is."""
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": question})
        written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    else:
        ids = _without_end(tokenizer, tokenizer(f"{system}\n{question}" if system else question)["input_ids"])
    return Prompt(question, torch.tensor(ids or [_first(tokenizer)], dtype=torch.int64))


def of_row(tokenizer: Any, row: Mapping[str, Tensor]) -> Prompt:
    """What stands in a row before the first token that is learned: of a question and its answer, the question. Of a
    text, all of which is learned, its beginning. Of packed rows the first counts."""
    ids, labels = row["input_ids"], row["labels"]
    if "segments" in row:
        first = row["segments"] == row["segments"][0]
        ids, labels = ids[first], labels[first]
    learned = (labels[1:] != MASKED).nonzero()
    before = int(learned[0]) + 1 if len(learned) else len(ids)
    if before == 1:
        before = max(1, min(OPENING, len(ids) // 2))
    return Prompt(tokenizer.decode(ids[:before].tolist(), skip_special_tokens=True).strip(), ids[:before])


def greedy_answers(
    model: nn.Module, tokenizer: Any, prompts: Sequence[Prompt], *, max_tokens: int, within_s: float = WITHIN_S
) -> list[tuple[str, str]]:
    """Prompts, and what the model says to them, at most `max_tokens` each. `model`: of transformers or peft, without
    DDP around it; an adapter is as active as it was. Its modes (training, eval) are put back. What the model would have
    gone on with is cut off, and `CUT` says so.

    When `within_s` has passed, the answer under way ends where it is, and those after it are left out.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    room = _longest(model) - max_tokens
    ends = _ends(model, tokenizer)
    until, found = time.monotonic() + within_s, []
    try:
        model.eval()
        for prompt in prompts:
            left = until - time.monotonic()
            if left <= 0:
                break
            ids = prompt.ids[-max(1, room) :].unsqueeze(0).to(device)
            said = _said(model, ids, ends, _padding(tokenizer, ends), max_tokens=max_tokens, max_time=left)
            tokens = said[0, ids.shape[1] :].tolist()
            answer = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            found.append((prompt.text, answer if tokens[-1:] and tokens[-1] in ends else f"{answer} {CUT}".lstrip()))
    finally:
        for module, training in modes:
            module.training = training
    return found


@torch.no_grad()
def _said(model: Any, ids: Tensor, ends: Sequence[int], padding: int, *, max_tokens: int, max_time: float) -> Tensor:
    """The prompt and what follows it, int64 [1, L]. What a model's own settings say of sampling does not count."""
    made: Tensor = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, max_time=max_time,
        do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, use_cache=True,
        eos_token_id=list(ends) or None, pad_token_id=padding,
    )  # fmt: skip
    return made


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: a model may have one for the end of a turn besides that of a text."""
    told = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = list(told) if isinstance(told, (list, tuple)) else [told]
    return list(dict.fromkeys(end for end in (*ends, tokenizer.eos_token_id) if end is not None))


def _padding(tokenizer: Any, ends: Sequence[int]) -> int:
    return int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else next(iter(ends), 0)


def _longest(model: Any) -> int:
    """Tokens that the model can look at."""
    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return longest if isinstance(longest, int) and longest > 0 else 1 << 30


def _without_end(tokenizer: Any, ids: list[int]) -> list[int]:
    """Some tokenizers end each text: an answer is to go on."""
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _first(tokenizer: Any) -> int:
    """To begin with, where there is no prompt at all."""
    told = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    return int(next((token for token in told if token is not None), 0))
