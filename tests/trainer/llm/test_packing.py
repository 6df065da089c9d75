"""Rows that go together: each once, none too full, none seeing another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.trainer.llm.rows.batch import MASKED, collate
from motley.trainer.llm.rows.packing import block_mask, packed
from motley.trainer.llm.rows.token_row import TokenRow
from motley.trainer.llm.rows.token_rows import TokenRows

LENGTHS = st.lists(st.integers(1, 30), max_size=60)


@given(LENGTHS, st.integers(30, 50))
def test_each_row_is_in_one_pack_that_holds_it(lengths: list[int], length: int) -> None:
    packs = packed(lengths, length)
    assert sorted(number for pack in packs for number in pack) == list(range(len(lengths)))
    sizes = [sum(lengths[number] for number in pack) for pack in packs]
    assert all(0 < size <= length for size in sizes)
    assert sum(sorted(sizes)[:2]) > length or len(packs) < 2  # two would have gone into one


def test_packs_are_the_fullest_that_have_room_and_in_order() -> None:
    assert packed([5, 9, 4, 1], 10) == [[0, 2, 3], [1]]
    assert packed([2, 6, 7, 3], 10) == [[0, 1], [2, 3]]
    assert packed([3] * 7, 10) == [[0, 1, 2], [3, 4, 5], [6]]
    assert packed([], 10) == []
    with pytest.raises(ValueError, match="a row of 11 tokens does not go into 10"):
        packed([3, 11], 10)


@st.composite
def token_rows(draw: st.DrawFn) -> list[TokenRow]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        learned = draw(st.lists(st.booleans(), min_size=2, max_size=20))
        found.append(TokenRow.of([100 * number + at for at in range(len(learned))], False))
        found[-1].learned = bytearray(learned)
    return found


@given(token_rows())
@settings(max_examples=60)
def test_what_is_packed_is_what_was_there_and_no_label_crosses_a_border(rows: list[TokenRow]) -> None:
    plain, packs = TokenRows.of(rows), TokenRows.of(rows, packed([len(row) for row in rows], 24))
    assert plain.tokens == packs.tokens == sum(map(len, rows))
    assert packs.lengths.tolist() == [len(packs[n]["input_ids"]) for n in range(len(packs))]
    pairs = []
    for data in (plain, packs):
        found = []
        for number in range(len(data)):
            row = data[number]
            labels, ids = row["labels"][1:].tolist(), row["input_ids"].tolist()
            found += [(ids[at], label) for at, label in enumerate(labels) if label != MASKED]
        assert len(found) == data.labels == len(set(found))
        pairs.append(sorted(found))
    wanted = sorted((row.ids[at - 1], row.ids[at]) for row in rows for at in range(1, len(row)) if row.learned[at])
    assert pairs == [wanted, wanted]  # each label is said from the token before it, of its own row
    for number in range(len(packs)):
        row = packs[number]
        own = row["input_ids"] // 100  # the row that a token is of
        assert torch.equal(row["input_ids"] % 100, row["positions"])
        assert torch.equal(own[:, None] == own, row["segments"][:, None] == row["segments"])
        assert row["segments"].diff().ge(0).all()
        assert row["segments"][0] == 0


def test_padding_is_at_the_right_and_counts_nowhere() -> None:
    rows = TokenRows.of([TokenRow.of([5, 6, 7], True), TokenRow.of([8, 9], True), TokenRow.of([4, 4], True)])
    batch = collate([rows[0], rows[1]], pad_id=3)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 3]]
    assert batch["labels"].tolist() == [[MASKED, 6, 7], [MASKED, 9, MASKED]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    packs = TokenRows.of([TokenRow.of([5, 6, 7], True), TokenRow.of([8, 9], True)], [[0, 1], []][:1])
    short = TokenRows.of([TokenRow.of([1, 2], True)], [[0]])
    both = collate([packs[0], short[0]], pad_id=3)
    assert both["segments"].tolist() == [[0, 0, 0, 1, 1], [0, 0, -1, -1, -1]]
    assert both["positions"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]


def test_a_token_sees_its_own_row_up_to_itself() -> None:
    mask = block_mask(torch.tensor([[0, 0, 1, -1]]), torch.float32)
    assert mask.shape == (1, 1, 4, 4)
    seen = mask[0, 0] == 0
    assert seen.tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
    assert mask.min() == torch.finfo(torch.float32).min
    assert block_mask(torch.zeros(2, 3, dtype=torch.int64), torch.bfloat16).dtype == torch.bfloat16
