"""Samples become token rows: what stands before what, which tokens are learned, what is cut off.

Without a chat template rows are written plainly, with the tokenizer's own begin and end of a text, where it has them:

| row | becomes | learned |
|---|---|---|
| text | begin, text, end | all |
| prompt, completion | begin, prompt, completion, end | completion, end |
| question, answer | begin, system and a line's end, question and a line's end, answer, end | answer, end |

With one, a question and its answer become a chat. `loss_on = "all"` learns every token of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motley.trainer.errors import DataError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.chats import ChatTokens, Messages
from motley.trainer.llm.rows.formats import Chat, Completion, Question, Sample, Text
from motley.trainer.llm.rows.token_row import Tokenizer, TokenRow, begin_of, end_of, ids_of, name_of
from motley.trainer.tasks.download import Note

AT_ONCE = 256  # samples: what a fast tokenizer turns into tokens side by side
_PIECE = 1 << 20  # characters of a long text that are turned into tokens at once; cut at a line's end


@dataclass(slots=True)
class Lost:
    """What was cut off at the length, and what had nothing to learn."""

    rows: int = 0
    tokens: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokeniser:
    tokenizer: Tokenizer
    options: Options
    chats: ChatTokens | None  # None: no template
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, options: Options) -> Tokeniser:
        return cls(
            tokenizer=tokenizer, options=options, chats=ChatTokens.of(tokenizer, options.loss_on),
            begin=tuple(begin_of(tokenizer)), end=tuple(end_of(tokenizer)),
        )  # fmt: skip

    def rows(self, samples: Sequence[Sample], note: Note, name: str) -> list[TokenRow]:
        """In the order of the samples, one for each but for long texts; not cut yet. `name`: of the file, for `note`.

        Raises DataError for a chat without a template, or that the template refuses.
        """
        found: list[TokenRow] = []
        for start in range(0, len(samples), AT_ONCE):
            if len(samples) > AT_ONCE:
                note(f"tokenising {name}: {start:,} of {len(samples):,} rows", start / len(samples))
            found += self._some(samples[start : start + AT_ONCE], note, name)
        return found

    def _some(self, samples: Sequence[Sample], note: Note, name: str) -> list[TokenRow]:
        as_chats: list[tuple[str, Messages]] = []
        parts: list[tuple[str, str]] = []  # what is not learned, what is
        for sample in samples:
            if isinstance(sample, Chat):
                as_chats.append((sample.where, sample.messages))
            elif isinstance(sample, Question):
                if self.chats is not None:
                    as_chats.append((sample.where, self._turns(sample)))
                else:
                    system = f"{self.options.system}\n" if self.options.system else ""
                    parts.append((f"{system}{sample.question}\n", sample.answer))
            elif isinstance(sample, Completion):
                parts.append((sample.prompt, sample.completion))
            elif not sample.whole:
                parts.append(("", sample.text))
        if as_chats and self.chats is None:
            raise DataError(
                f"{as_chats[0][0]}: is a chat, and the tokenizer {name_of(self.tokenizer)} has no chat template",
                "Take the instruct or chat version of the model, or give rows of question and answer, or prompt and "
                "completion, which need none",
            )
        chats = iter(self.chats.rows(as_chats) if self.chats is not None and as_chats else ())
        plain = iter(self._plain(parts))
        found: list[TokenRow] = []
        for sample in samples:
            if isinstance(sample, Text) and sample.whole:
                found += self._long(sample.text, note, name)
            else:
                is_chat = isinstance(sample, Chat) or (isinstance(sample, Question) and self.chats is not None)
                found.append(next(chats if is_chat else plain))
        return found

    def _turns(self, sample: Question) -> Messages:
        system = [{"role": "system", "content": self.options.system}] if self.options.system else []
        asked = {"role": "user", "content": sample.question}
        return [*system, asked, {"role": "assistant", "content": sample.answer}]

    def _plain(self, parts: Sequence[tuple[str, str]]) -> list[TokenRow]:
        """Both by themselves: so a prompt alone, when the model is asked, has the same tokens as here."""
        ids = ids_of(self.tokenizer, [part for pair in parts for part in pair])
        every = self.options.loss_on == "all"
        found = []
        for before, after in zip(ids[::2], ids[1::2]):
            row = TokenRow.of(self.begin, every)
            row.extend(before, every)
            row.extend(after, True)
            row.extend(self.end, True)
            found.append(row)
        return found

    def _long(self, text: str, note: Note, name: str) -> list[TokenRow]:
        """Rows of the length, the last may be shorter. Each begins with the token that was the last one before it, or
        it would never be learned: nothing is before the first token of a row."""
        whole = TokenRow.of(self.begin, True)
        for start, stop in _pieces(text):
            if start:
                note(f"tokenising {name}", start / len(text))
            whole.extend(ids_of(self.tokenizer, [text[start:stop]])[0], True)
        whole.extend(self.end, True)
        step = self.options.length - 1
        return [whole.part(start, start + step + 1) for start in range(0, max(1, len(whole) - 1), step)]


def _pieces(text: str) -> list[tuple[int, int]]:
    found, start = [], 0
    while start < len(text):
        line = text.find("\n", start + _PIECE)
        stop = len(text) if line < 0 else line + 1
        found.append((start, stop))
        start = stop
    return found


def cut(rows: Sequence[TokenRow], length: int, lost: Lost) -> list[TokenRow]:
    """What is left of them to learn from, in order; `lost` is told of the rest. A row without a label that counts
    would cost a pass and teach nothing: it is left out, on all hosts alike."""
    kept = []
    for row in rows:
        if len(row) > length:
            lost.rows += 1
            lost.tokens += len(row) - length
            row = row.part(0, length)
        if row.teaches():
            kept.append(row)
        else:
            lost.empty += 1
    return kept
