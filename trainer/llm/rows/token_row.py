"""One tokenised row, and what is asked of a tokenizer of transformers, whatever it is underneath. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Tokenizer = Any  # a PreTrainedTokenizerBase, or what answers as one


@dataclass(slots=True)
class TokenRow:
    """`learned[i]`: whether token i is one that the model is to say, given those before it."""

    ids: array[int]  # of int32
    learned: bytearray  # of 0 and 1, as long

    @classmethod
    def of(cls, ids: Sequence[int], learned: bool) -> TokenRow:
        return cls(array("i", ids), bytearray([learned]) * len(ids))

    def __len__(self) -> int:
        return len(self.ids)

    def extend(self, ids: Sequence[int], learned: bool) -> None:
        self.ids.extend(ids)
        self.learned += bytearray([learned]) * len(ids)

    def part(self, start: int, stop: int) -> TokenRow:
        return TokenRow(self.ids[start:stop], self.learned[start:stop])

    def teaches(self) -> bool:
        """Whether a label is left after the shift: nothing is before the first token, so it is none."""
        return 1 in self.learned[1:]


def name_of(tokenizer: Tokenizer) -> str:
    """What to call it in an error."""
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)


def ids_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Without the special tokens that the tokenizer would add itself. Several at once are faster."""
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return found


def begin_of(tokenizer: Tokenizer) -> list[int]:
    """The token that texts of this tokenizer begin with, where it puts one there by itself."""
    begin = getattr(tokenizer, "bos_token_id", None)
    if begin is None:
        return []
    return [begin] if list(tokenizer([""])["input_ids"][0])[:1] == [begin] else []


def end_of(tokenizer: Tokenizer) -> list[int]:
    """The token that ends a text; none where the tokenizer has none."""
    end = getattr(tokenizer, "eos_token_id", None)
    return [] if end is None else [end]


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that are no text: marks of turns, begin and end."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = {number for number, token in added.items() if getattr(token, "special", False)}
    return frozenset({*tokenizer.all_special_ids, *marks})
