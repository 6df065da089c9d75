"""What one line or one state of a progress bar says, and how numbers in it are read.

>>> number("2.5e-3"), number("nan"), number("1e999")
(0.0025, None, None)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LARGEST = 1e39  # of what a float32 holds
MOST_STEPS = 10**12

NUMBER = r"[-+]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,9})?|[-+]?(?:nan|inf(?:inity)?)\b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Figures that are named; None where there is none."""

    step: int | None = None  # as the script counts
    total: int | None = None  # steps in all
    epoch: float | None = None
    epochs: int | None = None  # in all
    loss: float | None = None
    doubt: str = ""  # why a loss that is named is not believed


def number(text: str) -> float | None:
    """None for what is not a number, infinite, or larger than any loss."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < LARGEST else None


def sound(said: Said) -> Said:
    """The same, with a doubt in place of a loss that is not a number, infinite or larger than any."""
    if said.loss is None or number(repr(said.loss)) is not None:
        return said
    return replace(said, loss=None, doubt=f"the loss is {said.loss:g}")


def whole(text: str) -> int | None:
    """A count of steps: `1,000` and `1_000` too. None for what is none."""
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= len(str(MOST_STEPS)) else None
