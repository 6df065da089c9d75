"""Layers shared out over the cards of one rank: in order, in proportion to what is free, or said with the figures."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from motley.profiles.language_models.fit import LIBRARIES_MIB, longest, needed_mib, told
from motley.profiles.language_models.memory import Architecture, Training, needed
from motley.profiles.language_models.split import Load, load_of, misfit, share_out, used
from tests.profiles.test_language_models import LLAMA_8B, ON_A_CARD

GIB = 2**30
BIG = Architecture.of(LLAMA_8B)


def test_cards_are_filled_in_proportion_to_what_is_free() -> None:
    split = share_out([12 * GIB, 8 * GIB, 4 * GIB], Load(first=0, layers=(GIB // 4,) * 48))
    assert [split.cards.count(card) for card in range(3)] == [24, 16, 8]
    assert split.used == (6 * GIB, 4 * GIB, 2 * GIB)
    assert split.fullest == pytest.approx(0.5)


def test_what_the_first_card_holds_besides_leaves_it_fewer_layers() -> None:
    split = share_out([8 * GIB, 8 * GIB], Load(first=3 * GIB, layers=(GIB // 2,) * 16))
    assert (split.cards.count(0), split.cards.count(1)) == (5, 11)
    assert share_out([8 * GIB, 8 * GIB], Load(first=8 * GIB, layers=(GIB // 8,) * 16)).cards == (1,) * 16


def test_what_has_to_be_copied_counts_on_the_other_cards_alone() -> None:
    light = share_out([GIB, GIB], Load(first=0, layers=(GIB // 16,) * 12))
    heavy = share_out([GIB, GIB], Load(first=0, layers=(GIB // 16,) * 12, copies=(GIB // 16,) * 12, other=GIB // 16))
    assert light.cards.count(0) == 6
    assert heavy.cards.count(0) == 9
    assert heavy.used == (9 * GIB // 16, GIB // 16 + 3 * GIB // 8)


def test_a_card_that_is_full_already_is_left_out() -> None:
    split = share_out([GIB, 1, GIB], Load(first=0, layers=(GIB // 8,) * 8, other=GIB // 16))
    assert set(split.cards) == {0, 2}
    assert split.used[1] == 0
    assert split.fullest < 1


@pytest.mark.parametrize("seed", range(30))
def test_no_other_split_in_order_leaves_more_room(seed: int) -> None:
    """Against all that there are."""
    draw = random.Random(seed)
    layers = tuple(draw.randint(1, 40) for _ in range(draw.randint(1, 7)))
    copies = tuple(draw.randint(0, 10) for _ in layers)
    load = Load(first=draw.randint(0, 60), layers=layers, copies=copies, other=draw.randint(0, 9))
    free = [draw.randint(1, 120) for _ in range(draw.randint(1, 4))]
    split = share_out(free, load)
    assert list(split.cards) == sorted(split.cards)
    assert split.used == used(load, split.cards, len(free))
    assert split.fullest == max(held / room for held, room in zip(split.used, free))
    ways = itertools.combinations_with_replacement(range(len(free)), len(layers))
    fulls = [max(held / room for held, room in zip(used(load, way, len(free)), free)) for way in ways]
    assert split.fullest == min(fulls)


def test_what_does_not_fit_is_said_with_its_figures() -> None:
    load, free = Load(first=3 * GIB, layers=(GIB,) * 8), [5 * GIB, 5 * GIB]
    split = share_out(free, load)
    assert split.fullest > 1
    text = "its 8 layers take 8.0 GiB, all else 3.0 GiB on cuda:0; free are 5.0 GiB on cuda:0 and 5.0 GiB on cuda:1"
    assert misfit(["cuda:0", "cuda:1"], free, load, split) == text
    assert misfit(["cuda:0", "cuda:1"], [6 * GIB] * 2, load, share_out([6 * GIB] * 2, load)) == ""


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_parts_of_a_model_are_all_of_it(method: str, checkpointing: bool) -> None:
    how = replace(ON_A_CARD, method=method, checkpointing=checkpointing)
    load, whole = load_of(BIG, how), needed(BIG, how)
    assert load.first + sum(load.layers) == whole.total
    assert load.other == whole.again
    assert min(load.first, *load.layers, *load.copies) > 0


def test_a_model_that_no_card_can_hold_alone_fits_on_two() -> None:
    how = Training(method="qlora", length=1024, weight_bytes=2)
    alone = needed_mib(BIG, how)
    room = 0.6 * alone
    assert longest(BIG, how, room) < 1024
    assert longest(BIG, how, room, [room]) == 1024
    both = needed_mib(BIG, how, rooms_mib=[room, room])
    assert alone + LIBRARIES_MIB < both < alone + 2 * LIBRARIES_MIB  # libraries twice, and copies of the adapter
    assert told(BIG, how, room_mib=8192, more_mib=[8192]).startswith("8.0 + 8.0 GiB free: QLoRA fits at 1 x 1024, in ")


def test_two_cards_do_not_make_room_for_what_only_the_first_can_hold() -> None:
    """Full training keeps weights, gradients and the optimizer's averages on the first."""
    how = Training(method="full", length=1024)
    alone = needed_mib(BIG, how)
    assert longest(BIG, how, 0.7 * alone, [0.7 * alone]) == 0
    assert "does not fit" in told(BIG, how, room_mib=0.7 * alone, more_mib=[0.7 * alone])
