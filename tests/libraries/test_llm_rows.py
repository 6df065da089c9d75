"""Rows by real tokenizers and their templates: which tokens are learned, and that packing changes no loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.trainer.errors import DataError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.batch import MASKED, collate
from motley.trainer.llm.rows.dataset import Rows, load_rows
from motley.trainer.llm.rows.formats import Chat
from motley.trainer.llm.rows.packing import block_mask
from motley.trainer.llm.rows.tokenise import Tokeniser
from tests.libraries.tiny_tokenizer import CHATML, MARKED, llama, tokenizer

UNMARKED_END = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
THINKS = CHATML.replace(
    "{{ message['content'] }}", "{{ '…' if loop.index > 1 and not loop.last else message['content'] }}"
)
DATED = "{% if strftime_now is defined %}Today is {{ strftime_now('%d %b %Y') }}.\n{% endif %}" + CHATML
TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.text("ab W.\n\u00e9\u65e5", max_size=8)),
    min_size=1,
    max_size=6,
)


def options(**given: Any) -> Options:
    table: dict[str, Any] = {"model": "m", "train": "t.jsonl", "test_fraction": 0.0}
    return Options(**(table | given))


def loaded(folder: Path, rows: list[dict[str, Any]], by: Any, **given: Any) -> Rows:
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_rows(options(**given), folder, by, lambda *_: None)


def learned(by: Any, messages: list[dict[str, str]]) -> tuple[str, list[str]]:
    """The whole chat, and the runs of it that are learned."""
    (row,) = Tokeniser.of(by, options()).rows([Chat("t:1", messages)], lambda *_: None, "t")
    runs: list[list[int]] = [[]]
    for number, flag in zip(row.ids, row.learned):
        if flag:
            runs[-1].append(number)
        elif runs[-1]:
            runs.append([])
    return by.decode(list(row.ids)), [by.decode(run) for run in runs if run]


def said(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


@pytest.mark.parametrize("template", [CHATML, MARKED, UNMARKED_END])
@pytest.mark.parametrize("metaspace", [False, True])
def test_answers_and_the_mark_that_ends_them_are_learned(template: str, metaspace: bool) -> None:
    by = tokenizer(template, metaspace=metaspace)
    whole, runs = learned(by, said("Who wrote it?", "Ada wrote it.", "yes?", "no"))
    assert [run.strip() for run in runs] == ["Ada wrote it.<|im_end|>", "no<|im_end|>"]
    if not metaspace:
        assert whole == (
            "<|im_start|>user\nWho wrote it?<|im_end|>\n<|im_start|>assistant\nAda wrote it.<|im_end|>\n"
            "<|im_start|>user\nyes?<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n"
        )


@pytest.mark.parametrize("template", [CHATML, MARKED])
@settings(max_examples=25, deadline=None)
@given(turns=TURNS)
def test_of_any_chat_the_answers_alone_are_learned(template: str, turns: list[tuple[str, str]]) -> None:
    by = made(template)
    messages = [{"role": "user", "content": "Who?"}, *({"role": role, "content": text} for role, text in turns)]
    whole, runs = learned(by, messages)
    wanted = [f"{message['content']}<|im_end|>" for message in messages if message["role"] == "assistant"]
    assert len(runs) == len(wanted)
    for run, answer in zip(runs, wanted):  # a line's end before it may be one token with that of the prompt
        assert run.lstrip("\n") == answer.lstrip("\n")
        assert template == MARKED or answer.endswith(run)
    assert whole.count("<|im_end|>") == len(messages)


_made: dict[str, Any] = {}


def made(template: str) -> Any:
    if template not in _made:
        _made[template] = tokenizer(template)
    return _made[template]


def test_a_template_that_changes_earlier_turns_is_refused_by_name() -> None:
    with pytest.raises(DataError) as error:
        learned(tokenizer(THINKS), said("Who?", "Ada", "yes?", "no"))
    assert str(error.value).startswith(
        "t:1: the chat template of ada/tiny does not keep what it wrote: the conversation up to answer 1 goes on with "
        "'Ada<|im_end|>\\n', the whole one there with '…<|im_end|>\\n<|im_start|>user"
    )
    assert learned(tokenizer(THINKS), said("Who?", "Ada"))[1] == ["Ada<|im_end|>"]


def test_a_template_that_writes_the_date_writes_the_same_on_each_day() -> None:
    whole, runs = learned(tokenizer(DATED), said("Who?", "Ada"))
    assert whole.startswith("Today is 26 Jul 2024.\n<|im_start|>")
    assert runs == ["Ada<|im_end|>"]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_a_chat_that_the_template_refuses_is_named(tmp_path: Path, template: str) -> None:
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a chat begins with user') }}{% endif %}"
    good, bad = said("Who?", "Ada"), said("Who?", "Ada")[1:]
    with pytest.raises(DataError, match=r"t.jsonl:2: the chat template of ada/tiny refuses it \(a chat begins with u"):
        loaded(tmp_path, [{"messages": good}, {"messages": bad}], tokenizer(strict + template))


def test_questions_become_chats_and_prompts_do_not(tmp_path: Path) -> None:
    by = tokenizer()
    rows = loaded(tmp_path, [{"question": "Who?", "answer": "Ada"}], by, system="yes no").train
    assert by.decode(rows[0]["input_ids"]) == (
        "<|im_start|>system\nyes no<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nAda<|im_end|>\n"
    )
    rows = loaded(tmp_path, [{"prompt": "Who?", "completion": " Ada"}], by).train
    assert by.decode(rows[0]["input_ids"]) == "Who? Ada</s>"
    labels = rows[0]["labels"]
    assert by.decode(labels[labels != MASKED]) == " Ada</s>"
    rows = loaded(tmp_path, [{"question": "Who?", "answer": "Ada"}], tokenizer(None)).train
    assert by.decode(rows[0]["input_ids"]) == "Who?\nAda</s>"


def test_parquet_is_read_with_its_lists_of_messages(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    by, messages = tokenizer(), said("Who?", "Ada")
    rows = [{"messages": messages, "id": 1}, {"messages": [*messages, *messages], "id": 2}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = load_rows(options(train="t.parquet"), tmp_path, by, lambda *_: None)
    same = loaded(tmp_path, rows, by)
    assert found.identity == same.identity
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="t.parquet: is no parquet, or damaged"):
        load_rows(options(train="t.parquet"), tmp_path, by, lambda *_: None)
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "a b"}, {"text": None}]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="t.parquet, row 2: text is null, not a text"):
        load_rows(options(train="t.parquet"), tmp_path, by, lambda *_: None)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_packed_rows_have_the_loss_of_unpacked_ones(tmp_path: Path, dtype: torch.dtype, bound: float) -> None:
    by = tokenizer()
    rows = [{"question": "Who wrote it? " * (n % 4), "answer": "Ada " * (1 + n % 5)} for n in range(23)]
    model = llama(len(by), dtype)
    summed, gradients, counts = [], [], []
    for packing in (False, True):
        data = loaded(tmp_path, rows, by, packing=packing, length=96).train
        batch = collate([data[n] for n in range(len(data))], by.pad_token_id)
        loss = _summed(model, batch, dtype)
        model.zero_grad()
        loss.backward()
        summed.append(loss.item())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        counts.append(int((batch["labels"][:, 1:] != MASKED).sum()))
    assert len(data) < 12  # several rows in each
    assert counts[0] == counts[1] == data.labels
    assert abs(summed[0] / summed[1] - 1) < bound
    assert (gradients[0] - gradients[1]).norm() < bound * gradients[0].norm()
    seen = _summed(model, {**batch, "segments": torch.zeros_like(batch["segments"])}, dtype)
    assert abs(seen.item() / summed[0] - 1) > 10 * bound  # where they see each other the loss is another


def _summed(model: Any, batch: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    more: dict[str, Any] = {}
    if "segments" in batch:
        more["attention_mask"] = block_mask(batch["segments"], dtype)
    if "positions" in batch:
        more["position_ids"] = batch["positions"]
    logits = model(input_ids=batch["input_ids"], use_cache=False, **more).logits
    shifted = batch["labels"][:, 1:].flatten()
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), shifted, ignore_index=MASKED, reduction="sum"
    )


def test_the_identity_names_the_library_and_its_version(tmp_path: Path) -> None:
    import tokenizers

    rows = [{"question": "Who?", "answer": "Ada"}]
    mine = loaded(tmp_path, rows, tokenizer()).identity
    assert mine == loaded(tmp_path, rows, tokenizer()).identity
    assert all(word.endswith(f" (tokenizers {tokenizers.__version__})") for word in mine.values())
    other = loaded(tmp_path, rows, tokenizer(MARKED)).identity
    assert {name for name in mine if mine[name] != other[name]} == {"tokenizer"}
