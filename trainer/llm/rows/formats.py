"""What a row is: a text, a question and its answer, a prompt and its completion, a chat. Known by its fields.

    >>> shape = shape_of({"instruction": "Say hi", "output": "hi"}, Options(model="m", train="t.jsonl"), "t.jsonl:1")
    >>> shape.sample(record)
    Question(where='t.jsonl:1', question='Say hi', answer='hi')

The names below are those of the data sets that people share; `[task] fields` names others. With `format = "auto"` the
first row decides, in the order chat, prompt_completion, question_answer, text, and every row must then have the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from motley.trainer.errors import DataError, TaskError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.records import Record, kind_of

CHATS = ("messages", "conversations")
QUESTIONS = ("question", "instruction", "query", "prompt", "input")
ANSWERS = ("answer", "output", "response")
CONTEXTS = ("context", "input")  # more to a question; a row may lack it
TEXTS = ("text", "content")
_SPEAKERS = {"human": "user", "gpt": "assistant"}  # of ShareGPT


@dataclass(frozen=True, slots=True)
class Text:
    where: str
    text: str
    whole: bool = False  # cut into rows of the length, not at it


@dataclass(frozen=True, slots=True)
class Completion:
    where: str
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Question:
    where: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Chat:
    """`messages`: of each at least `role` and `content`, texts."""

    where: str
    messages: list[dict[str, Any]]


Sample = Union[Text, Completion, Question, Chat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`fields`: the names that every row has: (text,), (prompt, completion), (question, answer), (messages,)."""

    kind: str
    fields: tuple[str, ...]
    contexts: tuple[str, ...] = ()  # the first of them that a row has is added to its question

    def sample(self, record: Record) -> Sample:
        """Raises DataError for a row without one of the fields, or with something else in it."""
        row, where = record.fields, record.where
        missing = [field for field in self.fields if field not in row]
        if missing:
            has = f"it has {', '.join(map(str, row))}" if row else "it has none"
            raise DataError(
                f"{where}: lacks the field {missing[0]}; {has}",
                "Add it, take the row out, or name the fields that all rows have in [task] fields",
            )
        if self.kind == "chat":
            return Chat(where, _messages(row[self.fields[0]], self.fields[0], where))
        texts = [_text_in(row, field, where) for field in self.fields]
        if self.kind == "text":
            return Text(where, texts[0], record.whole)
        if self.kind == "prompt_completion":
            return Completion(where, *texts)
        context = next((field for field in self.contexts if row.get(field) is not None), None)
        if context is not None and (more := _text_in(row, context, where)).strip():
            texts[0] = f"{texts[0]}\n\n{more}"
        return Question(where, *texts)


def shape_of(row: Mapping[str, Any], options: Options, where: str) -> Shape:
    """What every row must be, by what `[task]` says and by the first row. Raises DataError where it is none of the
    kinds, TaskError where `fields` does not fit `format`."""
    given: Any = options.fields  # of TOML: a list, or whatever else stands there
    if not isinstance(given, (list, tuple)) or not all(isinstance(field, str) and field for field in given):
        raise TaskError(f"[task] fields = {options.fields!r}: must be a list of names", 'fields = ["title", "body"]')
    kind, fields = options.format, tuple(given)
    if fields:
        return _named(kind, fields, row)
    found = {kind: shape for kind in _KINDS if (shape := _known(kind, row)) is not None}
    if kind == "auto" and found:
        return next(iter(found.values()))
    if kind in found:
        return found[kind]
    has = f"it has {', '.join(map(str, row))}" if row else "it has none"
    what = "fields of no format that is known" if kind == "auto" else f"not the fields of format = {kind!r}"
    wanted = "; ".join(_WANTED.values()) if kind == "auto" else _WANTED[kind]
    raise DataError(f"{where}: has {what}: {has}", f"Name yours in [task] fields, or call them {wanted}")


_WANTED = {
    "chat": " or ".join(CHATS),
    "prompt_completion": "prompt, completion",
    "question_answer": f"{' or '.join(QUESTIONS)}, {' or '.join(ANSWERS)}",
    "text": " or ".join(TEXTS),
}
_KINDS = tuple(_WANTED)
_COUNTS = {"text": (1,), "chat": (1,), "prompt_completion": (2,), "question_answer": (2, 3)}


def _named(kind: str, fields: tuple[str, ...], row: Mapping[str, Any]) -> Shape:
    if kind == "auto":
        kind = "question_answer" if len(fields) > 1 else "chat" if isinstance(row.get(fields[0]), list) else "text"
    if len(fields) not in _COUNTS[kind]:
        wanted = " or ".join(map(str, _COUNTS[kind]))
        raise TaskError(
            f"[task] fields names {len(fields)} fields, format = {kind!r} has {wanted}",
            "text: its text; question_answer: question, answer, and context if there is one; "
            "prompt_completion: prompt, completion; chat: its messages",
        )
    return Shape(kind=kind, fields=fields[:2], contexts=fields[2:])


def _known(kind: str, row: Mapping[str, Any]) -> Shape | None:
    """By the names above: the first of each that the row has."""
    if kind == "prompt_completion":
        fields = ("prompt", "completion")
        return Shape(kind=kind, fields=fields) if row.keys() >= {*fields} else None
    if kind == "question_answer":
        question = next((field for field in QUESTIONS if field in row), None)
        answer = next((field for field in ANSWERS if field in row), None)
        if question is None or answer is None:
            return None
        contexts = tuple(field for field in CONTEXTS if field != question)
        return Shape(kind=kind, fields=(question, answer), contexts=contexts)
    field = next((field for field in (CHATS if kind == "chat" else TEXTS) if field in row), None)
    return Shape(kind=kind, fields=(field,)) if field is not None else None


def _text_in(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise DataError(
            f"{where}: {field} is {kind_of(value)}, not a text", "Make it a text, or take the row out of the file"
        )
    return _sound(value, field, where)


def _sound(text: str, field: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {field} has half a character (\\u{ord(text[error.start]):04x}) at place {error.start}",
            "Write it whole, or take it out",
        ) from error
    return text


def _messages(value: Any, field: str, where: str) -> list[dict[str, Any]]:
    """Of `role` and `content`, or of ShareGPT's `from` and `value`, which become the former."""
    if not isinstance(value, list):
        raise DataError(f"{where}: {field} is {kind_of(value)}, not a list of messages", 'format = "chat" wants one')
    if not value:
        raise DataError(f"{where}: {field} has no message", "Take the row out of the file")
    return [_message(one, f"{field}[{number}]", where) for number, one in enumerate(value)]


def _message(one: Any, field: str, where: str) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise DataError(f"{where}: {field} is {kind_of(one)}, not a message", '{"role": "user", "content": "…"}')
    share_gpt = "role" not in one and "from" in one
    said, text = ("from", "value") if share_gpt else ("role", "content")
    for key in (said, text):
        if key not in one:
            has = ", ".join(map(str, one)) or "nothing"
            raise DataError(f"{where}: {field} lacks {key}; it has {has}", '{"role": "user", "content": "…"}')
        _text_in(one, key, f"{where}: {field}")
    if share_gpt:
        return {"role": _SPEAKERS.get(one["from"], one["from"]), "content": one["value"]}
    return one
