"""The layers of a language model shared out over the cards of one rank. Pure: bytes go in, a card for each layer comes
out.

Layers stay in their order, so that what is computed goes from card to card once. The first card holds all else: the
embedding and the head, what is trained with its gradients and the optimizer, the logits. Of all such splits the one is
taken whose fullest card is the least full, by what is free: cards are filled in proportion.

    >>> split = share_out([8 << 30, 4 << 30], Load(first=2 << 30, layers=(1 << 28,) * 24))
    >>> split.cards.count(0), split.cards.count(1), round(split.fullest, 2)
    (15, 9, 0.72)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from motley.profiles.language_models.memory import Architecture, Training, needed, of_layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Bytes. `first`: on the first card besides layers; `other`: on each of the others."""

    first: int
    layers: tuple[int, ...]  # of each layer, whichever card it lies on
    copies: tuple[int, ...] = ()  # of each more, where it is not on the first: what it has to train is copied there
    other: int = 0

    def on(self, card: int) -> tuple[int, list[int]]:
        """What a card holds besides layers, and what each layer takes there."""
        if card == 0 or not self.copies:
            return (self.first if card == 0 else self.other), list(self.layers)
        return self.other, [layer + copy for layer, copy in zip(self.layers, self.copies)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    cards: tuple[int, ...]  # of each layer, in their order
    used: tuple[int, ...]  # bytes of each card
    fullest: float  # the part of its free memory that the fullest card uses; above 1: it does not fit


def share_out(free: Sequence[int], load: Load) -> Split:
    """`free`: bytes of each card, one or more."""
    count = len(load.layers)
    least = [0.0] + [math.inf] * count  # how full the fullest card is with so many layers on the cards so far
    came_from: list[list[int]] = []
    for card, room in enumerate(free):
        base, layers = load.on(card)
        before = [0, *accumulate(layers)]
        found, starts = [math.inf] * (count + 1), [0] * (count + 1)
        for end in range(count + 1):
            for start in range(end, -1, -1):
                held = base + before[end] - before[start]
                full = 0.0 if card and start == end else held / max(1, room)  # a card without layers holds nothing
                if max(least[start], full) < found[end]:
                    found[end], starts[end] = max(least[start], full), start
                if full > found[end]:  # with more layers it only gets fuller
                    break
        least = found
        came_from.append(starts)
    cards, end = [0] * count, count
    for card in range(len(free) - 1, -1, -1):
        start = came_from[card][end]
        cards[start:end] = [card] * (end - start)
        end = start
    return Split(cards=tuple(cards), used=used(load, cards, len(free)), fullest=least[count])


def used(load: Load, cards: Sequence[int], count: int) -> tuple[int, ...]:
    """Bytes of each of `count` cards, with the layers as they lie."""
    found = []
    for card in range(count):
        base, layers = load.on(card)
        mine = [layer for layer, on in zip(layers, cards) if on == card]
        found.append(base + sum(mine) if mine or card == 0 else 0)
    return tuple(found)


def load_of(model: Architecture, how: Training, *, each: int = 0) -> Load:
    """As `profiles.language_models.memory` counts it, for one row of `how.length` tokens. `each`: on every card, such
    as the libraries."""
    found, layer = needed(model, how), of_layer(model, how)
    whole = layer.weights + layer.activations
    return Load(
        first=each + found.total - model.layers * whole,
        layers=(whole,) * model.layers,
        copies=(layer.copies,) * model.layers,
        other=each + found.again,
    )


def misfit(names: Sequence[str], free: Sequence[int], load: Load, split: Split) -> str:
    """What does not fit, with its figures; empty where all does.

    >>> load = Load(first=3 << 30, layers=(1 << 30,) * 8)
    >>> misfit(["cuda:0", "cuda:1"], [5 << 30, 5 << 30], load, share_out([5 << 30, 5 << 30], load))
    'its 8 layers take 8.0 GiB, all else 3.0 GiB on cuda:0; free are 5.0 GiB on cuda:0 and 5.0 GiB on cuda:1'
    """
    if split.fullest <= 1:
        return ""
    rooms = " and ".join(f"{_gib(room)} on {name}" for name, room in zip(names, free))
    layers = f"its {len(load.layers)} layers take {_gib(sum(load.layers))}"
    return f"{layers}, all else {_gib(load.first)} on {names[0]}; free are {rooms}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
