"""From files to rows with labels: what is learned, what is cut off, what is held out, what is told. Without a library:
`tests/libraries` has those of real tokenizers."""

from __future__ import annotations

import json
import pickle
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.trainer.errors import DataError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.dataset import Rows, held_out, load_rows
from motley.trainer.llm.rows.formats import Chat, Question, Sample, Text
from motley.trainer.llm.rows.token_rows import TokenRows
from motley.trainer.llm.rows.tokenise import Lost, Tokeniser, cut
from tests.trainer.llm.words import Words, said

TEMPLATE = "any"
TALK = ["user", "assistant", "user", "assistant"]


def options(**given: Any) -> Options:
    table: dict[str, Any] = {"model": "m", "train": "t.jsonl", "test_fraction": 0.0}
    return Options(**(table | given))


def loaded(folder: Path, rows: list[dict[str, Any]], tokenizer: Words | None = None, **given: Any) -> Rows:
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_rows(options(**given), folder, tokenizer or Words(), lambda *_: None)


def texts(rows: TokenRows | None, tokenizer: Words) -> list[tuple[str, list[str]]]:
    """Of each row its text, and what of it is learned."""
    assert rows is not None
    every = [(rows[n]["input_ids"].tolist(), rows[n]["labels"].tolist()) for n in range(len(rows))]
    return [(tokenizer.decode(ids), said(tokenizer, ids, labels)) for ids, labels in every]


def test_plain_rows_are_written_as_documented(tmp_path: Path) -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "three"}
    for tokenizer, begin in ((Words(), ""), (Words(begins=True), "<bos>")):
        rows = loaded(tmp_path, [row], tokenizer)
        assert texts(rows.train, tokenizer) == [(f"{begin}Add\n\n1 2\nthree<eos>", ["three<eos>"])]
        rows = loaded(tmp_path, [row], tokenizer, system="Be brief.")
        assert texts(rows.train, tokenizer) == [(f"{begin}Be brief.\nAdd\n\n1 2\nthree<eos>", ["three<eos>"])]
    tokenizer = Words()
    rows = loaded(tmp_path, [{"prompt": "def f", "completion": "(): 3"}], tokenizer)
    assert texts(rows.train, tokenizer) == [("def f(): 3<eos>", ["(): 3<eos>"])]
    rows = loaded(tmp_path, [{"text": "Once upon"}], tokenizer)
    assert texts(rows.train, tokenizer) == [("Once upon<eos>", [" upon<eos>"])]


def test_every_token_is_learned_but_the_first_where_the_loss_is_on_all(tmp_path: Path) -> None:
    tokenizer = Words(begins=True, chat_template=TEMPLATE)
    rows = loaded(tmp_path, [{"question": "Who?", "answer": "I."}], tokenizer, loss_on="all")
    assert texts(rows.train, tokenizer) == [
        ("<user>\nWho?<eos>\n<assistant>\nI.<eos>\n", ["\nWho?<eos>\n<assistant>\nI.<eos>\n"])
    ]


def test_a_question_is_a_chat_where_there_is_a_template(tmp_path: Path) -> None:
    tokenizer = Words(chat_template=TEMPLATE)
    rows = loaded(tmp_path, [{"question": "Who?", "answer": "I."}], tokenizer, system="Be brief.")
    assert texts(rows.train, tokenizer) == [
        ("<system>\nBe brief.<eos>\n<user>\nWho?<eos>\n<assistant>\nI.<eos>\n", ["I.<eos>"])
    ]


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text("ab \n.", max_size=6)), min_size=1))
@settings(max_examples=80, deadline=None)
def test_what_is_learned_of_a_chat_is_its_answers(turns: list[tuple[str, str]]) -> None:
    tokenizer = Words(chat_template=TEMPLATE)
    messages = [{"role": role, "content": "." + text.strip()} for role, text in [("user", "?"), *turns]]
    (row,) = Tokeniser.of(tokenizer, options()).rows([Chat("t:1", messages)], lambda *_: None, "t")
    learned = said(tokenizer, row.ids, [one if flag else -100 for one, flag in zip(row.ids, row.learned)])
    assert learned == [f"{message['content']}<eos>" for message in messages if message["role"] == "assistant"]


def test_a_template_that_changes_what_it_wrote_is_refused_by_name(tmp_path: Path) -> None:
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(TALK)]
    with pytest.raises(DataError) as error:
        loaded(tmp_path, [{"messages": messages}], Words(chat_template=TEMPLATE, keeps=False))
    assert str(error.value).startswith(
        "t.jsonl:1: the chat template of ada/words does not keep what it wrote: the conversation up to answer 1 goes "
        "on with 'assistant 1<eos>\\n', the whole one there with '…<eos>\\n<user>"
    )
    assert "Give it rows of one answer each, or prompt and completion; or a template with {% gen" in str(error.value)
    tokenizer = Words(chat_template=TEMPLATE, keeps=False)
    assert texts(loaded(tmp_path, [{"messages": messages[:2]}], tokenizer).train, tokenizer)[0][1] == [
        "assistant 1<eos>"
    ]
    assert loaded(tmp_path, [{"messages": messages}], tokenizer, loss_on="all").train.labels > 8


def test_a_chat_without_a_template_and_one_that_it_refuses_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        loaded(tmp_path, [{"messages": [{"role": "user", "content": "Who?"}]}])
    assert str(error.value).startswith(
        "t.jsonl:1: is a chat, and the tokenizer ada/words has no chat template. Take the instruct or chat version"
    )
    good = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
    with pytest.raises(DataError) as error:
        loaded(tmp_path, [{"messages": good}, {"messages": good[1:]}], Words(chat_template=TEMPLATE))
    assert str(error.value).startswith(
        "t.jsonl:2: the chat template of ada/words refuses it (the first turn is the user's). Mend the row"
    )


def test_what_is_cut_off_is_counted_and_rows_with_nothing_to_learn_are_left_out(tmp_path: Path) -> None:
    tokenizer = Words()
    rows = [
        {"prompt": "a b", "completion": " c"},
        {"prompt": "a b", "completion": " c d e f"},
        {"prompt": "a b c d e", "completion": " f"},
        {"prompt": "", "completion": ""},
    ]
    found = loaded(tmp_path, rows, tokenizer, length=4)
    assert texts(found.train, tokenizer) == [("a b c<eos>", [" c<eos>"]), ("a b c d", [" c d"])]
    assert found.told == (
        "2 rows of 8 tokens to train on (4 learned), none held out; 2 rows cut at 4 tokens, 6 tokens lost; "
        "2 rows left out: nothing to learn in them"
    )


def test_a_long_text_becomes_rows_in_which_each_token_is_learned_once() -> None:
    tokenizer = Words(begins=True)
    text = "".join(f" w{number}" for number in range(23))
    rows = Tokeniser.of(tokenizer, options(length=5)).rows([Text("t:1", text, whole=True)], lambda *_: None, "t")
    assert [len(row) for row in rows] == [5] * 6
    assert "".join(tokenizer.decode(row.ids[1:]) for row in rows) == f"{text}<eos>"
    assert tokenizer.decode(rows[0].ids[:1]) == "<bos>"
    assert [row.ids[0] for row in rows[1:]] == [row.ids[-1] for row in rows[:-1]]


@given(st.integers(0, 60), st.integers(2, 9))
@settings(deadline=None)
def test_a_long_text_loses_nothing(words: int, length: int) -> None:
    tokenizer = Words()
    text = "".join(f" w{number}" for number in range(words))
    rows = Tokeniser.of(tokenizer, options(length=length)).rows([Text("t:1", text, whole=True)], lambda *_: None, "t")
    lost = Lost()
    kept = cut(rows, length, lost)
    assert (lost.rows, lost.tokens) == (0, 0)
    assert sum(row.learned[1:].count(1) for row in kept) == words
    assert len(kept) == (words + length - 2) // (length - 1)


def test_rows_all_over_the_file_are_held_out_or_those_of_another_file(tmp_path: Path) -> None:
    tokenizer = Words()
    rows = [{"text": f"row {number}"} for number in range(10)]
    found = loaded(tmp_path, rows, tokenizer, test_fraction=0.25, packing=True)
    assert [text for text, _ in texts(found.test, tokenizer)] == ["row 2<eos>", "row 7<eos>"]
    assert found.test is not None
    assert not found.test.packs
    assert found.train.packs
    (tmp_path / "held.jsonl").write_text('{"text": "another row"}')
    found = loaded(tmp_path, rows, tokenizer, test="held.jsonl")
    assert (len(found.train), [text for text, _ in texts(found.test, tokenizer)]) == (10, ["another row<eos>"])
    (tmp_path / "held.jsonl").write_text('{"txt": "another row"}')
    with pytest.raises(DataError, match="held.jsonl:1: lacks the field text; it has txt"):
        loaded(tmp_path, rows, tokenizer, test="held.jsonl")


def test_rows_that_are_held_out_and_trained_on_are_told(tmp_path: Path) -> None:
    """Of 12 rows places 2, 6 and 10 are held out: the first is in the file once more, the second twice."""
    names = ["a", "b", "c", "d", "e", "f", "g", "c", "g", "h", "i", "g"]
    found = loaded(tmp_path, [{"text": name} for name in names], test_fraction=0.25)
    assert found.told.endswith("; 2 rows held out that are trained on, too")
    found = loaded(tmp_path, [{"text": name} for name in names[:5] + names[2:3]], test_fraction=0.2)
    assert "trained on, too" not in found.told
    (tmp_path / "held.jsonl").write_text('{"text": "c"}')
    found = loaded(tmp_path, [{"text": name} for name in names], test="held.jsonl", packing=True)
    assert found.told.endswith("; 1 row held out that is trained on, too")


@pytest.mark.parametrize(
    ("count", "fraction", "held"), [(0, 0.5, 0), (1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (200, 0.05, 10), (9, 0.0, 0)]
)
def test_how_many_are_held_out(count: int, fraction: float, held: int) -> None:
    assert len(held_out(count, fraction)) == held


@given(st.integers(0, 2000), st.floats(0, 1))
def test_held_out_rows_are_spread_evenly_whatever_their_number(count: int, fraction: float) -> None:
    places = sorted(held_out(count, fraction))
    assert all(0 <= place < count for place in places)
    gaps = {after - before for before, after in pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    if places:
        assert abs(places[0] - (count - 1 - places[-1])) <= 1  # as much is left before the first as after the last


def test_files_without_anything_to_learn_are_named(tmp_path: Path) -> None:
    nothing = [{"prompt": "a b c d", "completion": " e"}]
    with pytest.raises(DataError, match=r'train = "t.jsonl": none of its rows has a token to learn within the first 4'):
        loaded(tmp_path, nothing, length=4)
    (tmp_path / "held.jsonl").write_text(json.dumps(nothing[0]))
    with pytest.raises(DataError, match=r'\[task\] test = "held.jsonl": none of its rows has a token to learn'):
        loaded(tmp_path, [{"prompt": "a", "completion": " b"}], length=4, test="held.jsonl")


def test_packed_rows_are_told(tmp_path: Path) -> None:
    found = loaded(tmp_path, [{"text": "a b c"}] * 5, packing=True, length=10)
    assert found.train.lengths.tolist() == [8, 8, 4]
    assert found.told == ("5 rows of 20 tokens to train on (15 learned), packed into 3 of 10 (67% full), none held out")


def test_a_tokenizer_that_ends_no_text_is_told_of(tmp_path: Path) -> None:
    found = loaded(tmp_path, [{"text": "a b"}], Words(eos_token_id=None))
    assert found.told.endswith("; ada/words has no token that ends a text: answers are not ended")


def test_progress_is_told_of_many_rows(tmp_path: Path) -> None:
    heard: list[tuple[str, float | None]] = []
    (tmp_path / "t.jsonl").write_text('{"text": "a b"}\n' * 600)
    load_rows(options(), tmp_path, Words(), lambda text, part: heard.append((text, part)))
    assert heard[1] == ("tokenising t.jsonl: 256 of 600 rows", 256 / 600)
    assert len(heard) == 3


def test_a_data_set_is_pickled_as_it_is_large(tmp_path: Path) -> None:
    rows = loaded(tmp_path, [{"text": "a b c d e f g"}] * 2000).train
    sent = pickle.dumps(rows)
    assert len(sent) < 13 * rows.tokens  # of which five are the tokens', the rest where rows begin
    back = pickle.loads(sent)
    assert torch.equal(back[1999]["labels"], rows[1999]["labels"])
    with pytest.raises(IndexError):
        rows[2000]


def test_the_identity_follows_the_rows_and_the_tokenizer(tmp_path: Path) -> None:
    rows = [{"question": f"Who is {number}?", "answer": f"I am {number}."} for number in range(9)]

    one = Words()
    loaded(tmp_path, rows, one)  # now it knows all words

    def of(given: list[dict[str, Any]], tokenizer: Words = one, **more: Any) -> dict[str, str]:
        return dict(loaded(tmp_path, given, tokenizer, **more).identity)

    mine = of(rows, test_fraction=0.3)
    assert mine == of(rows, test_fraction=0.3)
    assert set(mine) == {"tokenizer", "token lengths", "tokens", "labels"}
    assert all(word.partition(" ")[2].startswith("(") for word in mine.values())
    shuffled = random.Random(0).sample(rows, len(rows))

    def differ(other: dict[str, str]) -> set[str]:
        return {name for name in mine if mine[name] != other[name]}

    assert "tokens" in differ(of(shuffled, test_fraction=0.3))
    assert differ(of(rows, loss_on="all", test_fraction=0.3)) == {"labels"}
    assert "token lengths" in differ(of(rows, length=6, test_fraction=0.3))
    assert differ(of(rows, Words(bos_token_id=None, vocabulary=one.vocabulary), test_fraction=0.3)) == {"tokenizer"}


def test_rows_of_all_kinds_keep_their_order() -> None:
    tokenizer = Words(chat_template=TEMPLATE)
    samples: list[Sample] = [Text("t:1", "one"), Question("t:2", "two?", "two"), Text("t:3", "three")]
    rows = Tokeniser.of(tokenizer, options()).rows(samples, lambda *_: None, "t")
    assert [tokenizer.decode(row.ids[-3:]).split("<eos>")[0].split()[-1] for row in rows] == ["one", "two", "three"]
