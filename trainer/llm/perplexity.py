"""How unsure a language model is: of how many equally likely tokens it would have to choose, on average.

>>> round(perplexity(2.7), 2)
14.88
"""

from __future__ import annotations

import math


def perplexity(loss: float) -> float:
    """exp of the mean negative log likelihood of a token; infinite where that is too large to be a figure."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
