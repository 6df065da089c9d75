"""What of a language model fits into the memory of a device, in words. Pure; `language_model_memory` has the bytes.

`motley plan` says it of hosts that were measured, the host itself in `motley check --train`.

    >>> told(model, Training(length=2048), room_mib=7800)
    '7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would fit at 1 x 2048'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from motley.profiles.language_model_memory import METHODS, Architecture, Training, needed

LIBRARIES_MIB = 640  # of a process with torch and transformers; a CUDA context takes about as much
SHORTEST = 64  # tokens


def needed_mib(model: Architecture, how: Training) -> int:
    """Of the whole process, or of the card, at one row of `how.length`."""
    return LIBRARIES_MIB + -(-needed(model, how).total // 2**20)


def longest(model: Architecture, how: Training, room_mib: float) -> int:
    """The longest row that fits alone: `how.length`, or that halved so often, down to 64 tokens; 0 where none does."""
    length = how.length
    while needed_mib(model, replace(how, length=length)) > room_mib:
        if length // 2 < SHORTEST:
            return 0
        length //= 2
    return length


def told(model: Architecture, how: Training, *, room_mib: float) -> str:
    """What fits as it is set, and what would instead. `room_mib`: what is free before anything of it is there."""
    fits, name, free = longest(model, how, room_mib), METHODS[how.method], f"{room_mib / 1024:.1f} GiB free"
    if fits == how.length:
        return f"{free}: {name} fits at 1 x {fits}, in {_gib(needed_mib(model, how))}"
    if fits:
        text = f"{free}: {name} fits at 1 x {fits}, not at 1 x {how.length}"
    else:
        shortest = needed_mib(model, replace(how, length=min(how.length, SHORTEST)))
        text = f"{free}: {name} does not fit, it needs {_gib(shortest)} for the shortest row"
    others = [(longest(model, other, room_mib), words) for words, other in _others(how)]
    best, words = max(others, key=lambda other: other[0], default=(0, ""))  # of equally long ones the first
    if best > fits:
        return f"{text}; {words} would fit at 1 x {best}"
    return text if fits else f"{text}; nor would anything else"


def _others(how: Training) -> Iterator[tuple[str, Training]]:
    """The nearest first: what costs time alone, then what changes more."""
    methods = list(METHODS)
    for method in methods[methods.index(how.method) :]:
        name = METHODS[method] if method != how.method else ""
        for checkpointing in (False, True):
            other = replace(how, method=method, checkpointing=checkpointing or how.checkpointing)
            words = [name] if name else []
            words += ["activation_checkpointing"] if other.checkpointing and not how.checkpointing else []
            if words and other != how:
                yield " with ".join(words), other


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"
