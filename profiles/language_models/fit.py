"""What of a language model fits into the memory of a device, in words. Pure; `profiles.language_models.memory` has
the bytes.

`motley plan` says it of hosts that were measured, the host itself in `motley check --train`.

    >>> told(model, Training(length=2048), room_mib=7800)
    '7.6 GiB free: LoRA fits at 1 x 512, not at 1 x 2048; with activation_checkpointing it would fit at 1 x 2048'

A rank with several cards has its layers on all of them: `profiles.language_models.split` says where. `more_mib` are
then the rooms of the cards besides the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from motley.profiles.language_models.memory import METHODS, Architecture, Training, needed
from motley.profiles.language_models.split import Split, load_of, share_out

LIBRARIES_MIB = 640  # of a process with torch and transformers; a CUDA context takes about as much
MIB = 2**20
SHORTEST = 64  # tokens
LITTLE_CHUNK = 256  # tokens of the loss at once: the logits of a large vocabulary take most of a small card


def needed_mib(model: Architecture, how: Training, *, rooms_mib: Sequence[float] = ()) -> int:
    """Of the whole process, or of the card, at one row of `how.length`; where there are several, of all together."""
    if len(rooms_mib) > 1:
        return -(-sum(_split(model, how, rooms_mib).used) // MIB)
    return LIBRARIES_MIB + -(-needed(model, how).total // MIB)


def longest(model: Architecture, how: Training, room_mib: float, more_mib: Sequence[float] = ()) -> int:
    """The longest row that fits alone: `how.length`, or that halved so often, down to 64 tokens; 0 where none does."""
    length = how.length
    while not _fits(model, replace(how, length=length), (room_mib, *more_mib)):
        if length // 2 < SHORTEST:
            return 0
        length //= 2
    return length


def _fits(model: Architecture, how: Training, rooms_mib: Sequence[float]) -> bool:
    if len(rooms_mib) > 1:
        return _split(model, how, rooms_mib).fullest <= 1
    return needed_mib(model, how) <= rooms_mib[0]


def _split(model: Architecture, how: Training, rooms_mib: Sequence[float]) -> Split:
    return share_out([int(room * MIB) for room in rooms_mib], load_of(model, how, each=LIBRARIES_MIB * MIB))


def told(model: Architecture, how: Training, *, room_mib: float, more_mib: Sequence[float] = ()) -> str:
    """What fits as it is set, and what would instead. `room_mib`: what is free before anything of it is there."""
    rooms = (room_mib, *more_mib)
    fits, name = longest(model, how, room_mib, more_mib), METHODS[how.method]
    free = f"{' + '.join(f'{room / 1024:.1f}' for room in rooms)} GiB free"
    if fits == how.length:
        return f"{free}: {name} fits at 1 x {fits}, in {_gib(needed_mib(model, how, rooms_mib=rooms))}"
    if fits:
        text = f"{free}: {name} fits at 1 x {fits}, not at 1 x {how.length}"
    else:
        shortest = needed_mib(model, replace(how, length=min(how.length, SHORTEST)), rooms_mib=rooms)
        text = f"{free}: {name} does not fit, it needs {_gib(shortest)} for the shortest row"
    others = [(longest(model, other, room_mib, more_mib), words) for words, other in _others(how)]
    best, words = max(others, key=lambda other: other[0], default=(0, ""))  # of equally long ones the first
    if best > fits:
        return f"{text}; {words} fit at 1 x {best}"
    return text if fits else f"{text}; nor would anything else"


def _others(how: Training) -> Iterator[tuple[str, Training]]:
    """The nearest first: what costs time alone, then what changes more."""
    methods = list(METHODS)
    if how.loss_chunk == 0 or how.loss_chunk > LITTLE_CHUNK:
        yield f"with loss_chunk = {LITTLE_CHUNK} it would", replace(how, loss_chunk=LITTLE_CHUNK)
    if not how.checkpointing:
        yield "with activation_checkpointing it would", replace(how, checkpointing=True)
    for method in methods[methods.index(how.method) + 1 :]:
        yield f"{METHODS[method]} would", replace(how, method=method)
        if not how.checkpointing:
            words = f"{METHODS[method]} with activation_checkpointing would"
            yield words, replace(how, method=method, checkpointing=True)


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"
