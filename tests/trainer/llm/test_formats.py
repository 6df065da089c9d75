"""What a row is, by its fields, and what is said of one that is something else."""

from __future__ import annotations

from typing import Any

import pytest

from motley.trainer.errors import DataError, TaskError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.formats import Chat, Completion, Question, Sample, Text, shape_of
from motley.trainer.llm.rows.records import Record

ASKED = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
SHARED = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "I."}]


def options(**given: Any) -> Options:
    return Options(model="m", train="t.jsonl", **given)


def sample(row: dict[str, Any], first: dict[str, Any] | None = None, **given: Any) -> Sample:
    return shape_of(first or row, options(**given), "t:1").sample(Record(row, "t:9"))


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"text": "Once"}, Text("t:9", "Once")),
        ({"id": 3, "content": "Once"}, Text("t:9", "Once")),
        ({"question": "Who?", "answer": "I."}, Question("t:9", "Who?", "I.")),
        ({"context": "Ada writes.", "question": "Who?", "answer": "I."}, Question("t:9", "Who?\n\nAda writes.", "I.")),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, Question("t:9", "Add\n\n1 2", "3")),
        ({"instruction": "Add", "input": "", "output": "3", "text": "…"}, Question("t:9", "Add", "3")),
        ({"instruction": "Add", "context": None, "response": "3"}, Question("t:9", "Add", "3")),
        ({"input": "1 2", "output": "3"}, Question("t:9", "1 2", "3")),
        ({"prompt": "1 2", "response": "3"}, Question("t:9", "1 2", "3")),
        ({"prompt": "def f", "completion": "(): …"}, Completion("t:9", "def f", "(): …")),
        ({"prompt": "Who?", "messages": ASKED}, Chat("t:9", ASKED)),
        ({"conversations": SHARED}, Chat("t:9", ASKED)),
    ],
)
def test_a_row_is_known_by_its_fields(row: dict[str, Any], wanted: Sample) -> None:
    assert sample(row) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"fields": ["title", "body"]}, Question("t:9", "Who?", "I.")),
        ({"fields": ["title", "body", "hint"]}, Question("t:9", "Who?\n\nit is me", "I.")),
        ({"fields": ["title", "body"], "format": "prompt_completion"}, Completion("t:9", "Who?", "I.")),
        ({"fields": ["body"]}, Text("t:9", "I.")),
        ({"fields": ["talk"]}, Chat("t:9", ASKED)),
        ({"format": "text"}, Text("t:9", "all of it")),
    ],
)
def test_fields_and_format_name_others(given: dict[str, Any], wanted: Sample) -> None:
    row = {"title": "Who?", "body": "I.", "hint": "it is me", "talk": ASKED, "text": "all of it", "answer": "no"}
    assert sample(row, **given) == wanted


def test_what_is_added_to_a_question_may_be_missing_in_a_row() -> None:
    first = {"instruction": "Add", "output": "3"}
    assert sample({"instruction": "Add", "input": "1", "output": "3"}, first) == Question("t:9", "Add\n\n1", "3")


@pytest.mark.parametrize(
    ("row", "first", "given", "said"),
    [
        ({"question": "Who?"}, {"question": "", "answer": ""}, {}, "t:9: lacks the field answer; it has question. Add"),
        ({}, {"text": ""}, {}, "t:9: lacks the field text; it has none"),
        ({"text": 7}, None, {}, "t:9: text is a number, not a text"),
        ({"question": "Who?", "answer": None}, None, {}, "t:9: answer is null, not a text"),
        ({"instruction": "a", "input": ["b"], "output": "c"}, None, {}, "t:9: input is a list, not a text"),
        ({"text": "a\ud83d"}, None, {}, r"t:9: text has half a character (\ud83d) at place 1"),
        ({"title": "a"}, None, {}, "t:1: has fields of no format that is known: it has title. Name yours in"),
        ({"text": "a"}, None, {"format": "chat"}, "t:1: has not the fields of format = 'chat': it has text"),
        ({"messages": "Who?"}, None, {}, "t:9: messages is a text, not a list of messages"),
        ({"messages": []}, None, {}, "t:9: messages has no message"),
        ({"messages": ["Who?"]}, None, {}, "t:9: messages[0] is a text, not a message"),
        ({"messages": [ASKED[0], {"role": "user"}]}, None, {}, "t:9: messages[1] lacks content; it has role"),
        ({"messages": [{"role": "user", "content": None}]}, None, {}, "t:9: messages[0]: content is null, not a text"),
        ({"conversations": [{"from": "gpt"}]}, None, {}, "t:9: conversations[0] lacks value; it has from"),
        ({"messages": [{}]}, None, {}, "t:9: messages[0] lacks role; it has nothing"),
    ],
)
def test_a_row_that_is_something_else_is_named(
    row: dict[str, Any], first: dict[str, Any] | None, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as error:
        sample(row, first, **given)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": "title"}, "[task] fields = 'title': must be a list of names"),
        ({"fields": ["a", 3]}, "must be a list of names"),
        ({"fields": 3}, "must be a list of names"),
        ({"fields": ["a"], "format": "prompt_completion"}, "names 1 fields, format = 'prompt_completion' has 2. text:"),
        ({"fields": ["a", "b", "c", "d"]}, "names 4 fields, format = 'question_answer' has 2 or 3"),
    ],
)
def test_fields_that_do_not_fit_the_format_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError) as error:
        sample({"a": "x"}, **given)
    assert said in str(error.value)
