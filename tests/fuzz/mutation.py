"""What the tests of this folder throw at the product: odd values, and good text with mistakes in it.

`make fuzz` has each test try 10,000 cases, other ones each time; `make test-fast` the same 100 always. A case that
fails there is printed with a `@reproduce_failure` line: put it above the test to have it again.

    >>> mutated(st.just('{"step": 1}'), ["{", "NaN"]).example()
    '{"step": NaN 1}'
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

CHARACTERS = st.characters() | st.sampled_from("\x00\x07\x1b\x9b\x9d\r\n\t\u2028\u202e\ud800\udcff\ufeff'\"\\$`! ~-=")
TEXTS = st.text(CHARACTERS, max_size=12)
WHOLES = st.integers() | st.integers(-2, 5) | st.sampled_from([2**31, 2**53, 2**63, -(2**63), 10**400, -(10**4000)])
FIGURES = st.floats() | st.floats(0, 1000) | st.sampled_from([1e308, -1e308, 5e-324, 1e39, -0.0])
PLAIN: st.SearchStrategy[Any] = st.none() | st.booleans() | WHOLES | FIGURES | TEXTS
ODD: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NOTHING: st.SearchStrategy[list[Any]] = st.just([])
MORE: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.just({}) | st.dictionaries(TEXTS, ODD, max_size=1)
DEPTHS = st.sampled_from([3, 9, 33, 200, 490, 900, 960, 985, 1000, 3000, 100_000])


@st.composite
def nested(draw: st.DrawFn) -> str:
    """JSON that is nested as deep as readers go by recursion, or deeper."""
    depth = draw(DEPTHS)
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
    return opening * depth + draw(st.sampled_from(["0", '"x"', "[]"])) + closing * depth


def written(value: Any) -> str:
    """As JSON, with the numbers that Python's writer of it adds to it."""
    return json.dumps(value)


def mutated(whole: st.SearchStrategy[str], pieces: Sequence[str]) -> st.SearchStrategy[str]:
    """A text with up to four mistakes: something left out, put in, said twice, or another text's in its place."""
    places = st.floats(0, 1)
    spans = st.integers(0, 3) | st.integers(0, 80)
    puts = st.sampled_from(pieces) | TEXTS | whole
    acts = st.sampled_from(["leave out", "put", "put", "twice"])
    slips = st.lists(st.tuples(places, spans, acts, puts), min_size=1, max_size=4)

    def slip(text: str, slips: list[tuple[float, int, str, str]]) -> str:
        for place, span, act, put in slips:
            at = int(place * len(text))
            end = at + span
            text = text[:at] + {"leave out": "", "put": put, "twice": text[at:end] * 2}[act] + text[end:]
        return text

    return st.builds(slip, whole, slips)


def table(right: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A table as it should be, but for a few of its keys: these are odd, gone, or more than there should be."""
    slips = st.lists(st.tuples(st.sampled_from(sorted(right)), st.booleans(), ODD), max_size=2) if right else NOTHING

    def slip(made: dict[str, Any], slips: list[tuple[str, bool, Any]], more: dict[str, Any]) -> dict[str, Any]:
        made = {**made, **more}
        for key, there, odd in slips:
            if there:
                made[key] = odd
            else:
                made.pop(key, None)
        return made

    return st.builds(slip, st.fixed_dictionaries(right), slips, MORE)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for one case, in memory where that can be: there are thousands."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def cases(most: int) -> settings:
    """For a test whose cases take long: no more than so many, but for `make fuzz`."""
    return settings(max_examples=settings().max_examples if settings.get_current_profile_name() == "fuzz" else most)
