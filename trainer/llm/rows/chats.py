"""Chats become tokens by the tokenizer's template, and which of them are answers.

Where the template marks them (`{% generation %}`), its marks decide. Else an answer is what a conversation up to it has
more than the conversation before it, as its template asks for the answer: both must be beginnings of the whole. A
template that writes earlier turns otherwise once others follow can't be learned from in this way, and is refused.

    >>> ChatTokens.of(tokenizer, "answers").rows([("t.jsonl:1", messages)])
    [TokenRow(…)]

The mark that ends a turn is learned with its answer. What a template writes between two turns is not.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from motley.trainer.errors import DataError
from motley.trainer.llm.rows.token_row import Tokenizer, TokenRow, ids_of, name_of, special_ids

Messages = list[dict[str, Any]]
Located = tuple[str, Messages]  # where it stands in the user's file
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_SHOWN = 40  # characters of a text that an error quotes
# Templates that write today's date would give other tokens on each day, and on hosts in other time zones.
_SAME_DAY = (
    "{%- macro strftime_now(format) -%}"
    "{%- if '%B' in format -%}26 July 2024{%- elif '%b' in format -%}26 Jul 2024{%- else -%}2024-07-26{%- endif -%}"
    "{%- endmacro -%}"
)


def template_of(tokenizer: Tokenizer) -> str | None:
    """Its chat template; of several the default one."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, dict):
        found = found.get("default")
    if not found:
        return None
    return _SAME_DAY + found if "strftime_now" in found else str(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTokens:
    """`ends`: the mark that the template ends an answer with, but does not count to it."""

    tokenizer: Tokenizer
    template: str
    answers: bool  # only they are learned; else all
    marked: bool = False
    ends: int | None = None
    special: frozenset[int] = frozenset()

    @classmethod
    def of(cls, tokenizer: Tokenizer, loss_on: str) -> ChatTokens | None:
        """None where the tokenizer has no template."""
        template = template_of(tokenizer)
        if template is None:
            return None
        marked = bool(_MARK.search(template)) and bool(getattr(tokenizer, "is_fast", False))
        special = special_ids(tokenizer)
        plain = cls(
            tokenizer=tokenizer, template=template, answers=loss_on == "answers", marked=marked, special=special
        )
        return plain._that_ends() if marked and plain.answers else plain

    def rows(self, chats: Sequence[Located]) -> list[TokenRow]:
        """Raises DataError for a chat that the template refuses, or does not keep the beginning of."""
        if not self.answers:
            texts = [self._written(where, messages) for where, messages in chats]
            return [TokenRow.of(ids, True) for ids in ids_of(self.tokenizer, texts)]
        if self.marked:
            return self._by_marks(chats)
        return self._by_offsets(chats) if getattr(self.tokenizer, "is_fast", False) else self._by_tokens(chats)

    # By the template's own marks

    def _by_marks(self, chats: Sequence[Located]) -> list[TokenRow]:
        found = []
        try:
            ids, masks = self._masked([messages for _, messages in chats])
        except Exception as error:
            for where, messages in chats:  # which one it was
                self._written(where, messages)
            raise DataError(self._refused(chats[0][0], error), "Mend the rows, or take another template") from error
        for row, mask in zip(ids, masks):
            learned = bytearray(mask)
            for number in range(1, len(row)):
                if row[number] == self.ends and mask[number - 1] and not mask[number]:
                    learned[number] = 1
            found.append(TokenRow(TokenRow.of(row, False).ids, learned))
        return found

    def _masked(self, conversations: list[Messages]) -> tuple[list[list[int]], list[list[int]]]:
        out = self.tokenizer.apply_chat_template(
            conversations, chat_template=self.template, tokenize=True, return_dict=True,
            return_assistant_tokens_mask=True,
        )  # fmt: skip
        return out["input_ids"], out["assistant_masks"]

    def _that_ends(self) -> ChatTokens:
        """With the mark that follows an answer which ends the conversation: the next turn has none yet."""
        try:
            (ids,), (mask,) = self._masked([[_said("user", "yes"), _said("assistant", "yes")]])
        except Exception:  # noqa: BLE001 - a template that wants more than this says so with the first row
            return self
        last = max((number for number, one in enumerate(mask) if one), default=len(ids))
        follows = ids[last + 1] if last + 1 < len(ids) else None
        ends = follows if follows in self.special and ids[last] not in self.special else None
        return dataclasses.replace(self, ends=ends)

    # By what each answer adds

    def _by_offsets(self, chats: Sequence[Located]) -> list[TokenRow]:
        """The texts must be beginnings of the whole; a token counts that lies in an answer whole."""
        texts, spans = [], []
        for where, messages in chats:
            whole = self._written(where, messages)
            texts.append(whole)
            spans.append([self._span(where, whole, *pair, turn) for turn, pair in self._turns(where, messages, whole)])
        out = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        found = []
        for ids, offsets, answers in zip(out["input_ids"], out["offset_mapping"], spans):
            row, starts = TokenRow.of(ids, False), [start for start, _ in offsets]
            for begin, end in answers:
                first = last = bisect_left(starts, begin)
                while last < len(ids) and offsets[last][1] <= end:
                    last += 1
                self._learn(row, first, last)
            found.append(row)
        return found

    def _by_tokens(self, chats: Sequence[Located]) -> list[TokenRow]:
        """As by offsets, for tokenizers that do not say where a token comes from: an answer's are those that the text
        with it has in common with the whole, beyond those of the text before it."""
        found = []
        for where, messages in chats:
            whole = self._written(where, messages)
            (ids,) = ids_of(self.tokenizer, [whole])
            row = TokenRow.of(ids, False)
            for turn, (before, after) in self._turns(where, messages, whole):
                self._span(where, whole, before, after, turn)
                first, last = ids_of(self.tokenizer, [before, after])
                asked = _common(first, ids)
                runs_on = asked < len(first)  # its last token goes on into the answer: it is not the answer's
                self._learn(row, asked + runs_on, _common(last, ids))
            found.append(row)
        return found

    def _turns(self, where: str, messages: Messages, whole: str) -> list[tuple[int, tuple[str, str]]]:
        """Of each answer its number from 1, the text that asks for it, and the text that ends with it. An answer that
        begins the conversation answers nothing."""
        found: list[tuple[int, tuple[str, str]]] = []
        for number, message in enumerate(messages):
            if message["role"] == "assistant" and number > 0:
                before = self._written(where, messages[:number], asks=True)
                after = self._written(where, messages[: number + 1]) if number + 1 < len(messages) else whole
                found.append((len(found) + 1, (before, after)))
        return found

    def _span(self, where: str, whole: str, before: str, after: str, turn: int) -> tuple[int, int]:
        for part in (before, after):
            if not whole.startswith(part):
                at = next(n for n, one in enumerate(part) if whole[n : n + 1] != one)
                raise self._changes(where, turn, part[at : at + _SHOWN], whole[at : at + _SHOWN])
        return len(before), len(after)

    def _learn(self, row: TokenRow, first: int, last: int) -> None:
        """What follows the mark that ends the turn, a line's end most often, belongs to no answer."""
        marks = [number for number in range(first, last) if row.ids[number] in self.special]
        if marks and marks[-1] + 1 < last and not self._shown(row.ids[marks[-1] + 1 : last]).strip():
            last = marks[-1] + 1
        row.learned[first:last] = b"\1" * max(0, last - first)

    def _written(self, where: str, messages: Messages, *, asks: bool = False) -> str:
        """`asks`: up to where an answer begins."""
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, chat_template=self.template, tokenize=False, add_generation_prompt=asks
            )
        except Exception as error:
            remedy = "Mend the row: roles, their order, what a message has; or take a tokenizer with another template"
            raise DataError(self._refused(where, error), remedy) from error
        return text

    def _shown(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids[:_SHOWN])))

    def _refused(self, where: str, error: Exception) -> str:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{where}: the chat template of {name_of(self.tokenizer)} refuses it ({why})"

    def _changes(self, where: str, turn: int, alone: str, whole: str) -> DataError:
        return DataError(
            f"{where}: the chat template of {name_of(self.tokenizer)} does not keep what it wrote: the conversation up "
            f"to answer {turn} goes on with {alone!r}, the whole one there with {whole!r}. So it can't be said which "
            "tokens are answers",
            "Give it rows of one answer each, or prompt and completion; or a template with {% generation %} around "
            'what the assistant says; or learn every token: loss_on = "all"',
        )


def _common(part: list[int], whole: list[int]) -> int:
    """How many tokens both begin with."""
    return next((number for number, one in enumerate(part) if whole[number : number + 1] != [one]), len(part))


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
