"""A tokenizer that needs no library: a word is a token, what stands between words is part of the next one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_WORD = re.compile(r"<[a-z]+>|\n| *[^\s<]+| +|<")
_MARKS = ("<pad>", "<bos>", "<eos>", "<user>", "<assistant>", "<system>")


@dataclass
class Words:
    """Answers as transformers' do. `chat_template`: any text: `keeps` says whether turns stay as they were written."""

    chat_template: str | None = None
    keeps: bool = True
    begins: bool = False
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    name_or_path: str = "ada/words"
    is_fast: bool = False
    vocabulary: dict[str, int] = field(default_factory=lambda: {mark: number for number, mark in enumerate(_MARKS)})

    @property
    def all_special_ids(self) -> list[int]:
        return list(range(len(_MARKS)))

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary)

    def __call__(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        begin = [1] if add_special_tokens and self.begins else []
        return {"input_ids": [begin + [self._number(word) for word in _WORD.findall(text)] for text in texts]}

    def decode(self, ids: Sequence[int]) -> str:
        words = {number: word for word, number in self.vocabulary.items()}
        return "".join(words[number] for number in ids)

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, chat_template: str, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        assert chat_template == self.chat_template
        assert not tokenize
        if messages[0]["role"] == "assistant":
            raise ValueError("the first turn is the user's")
        turns = []
        for number, message in enumerate(messages):
            content = message["content"]
            if not self.keeps and message["role"] == "assistant" and number + 1 < len(messages):
                content = "…"
            turns.append(f"<{message['role']}>\n{content}<eos>\n")
        return "".join(turns) + "<assistant>\n" * add_generation_prompt

    def _number(self, word: str) -> int:
        return self.vocabulary.setdefault(word, len(self.vocabulary))


def said(tokenizer: Words, ids: Sequence[int], labels: Sequence[int]) -> list[str]:
    """The runs of tokens that are learned, as text."""
    found, run = [], list[int]()
    for number, label in zip([*ids, 0], [*labels, -100]):
        if label != -100:
            assert label == number
            run.append(number)
        elif run:
            found.append(tokenizer.decode(run))
            run = []
    return found
