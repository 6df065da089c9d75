"""What a rank's training data is, in a few figures, so that a coordinator can tell whether all hosts have the same.

`trainer.data.fingerprint` takes them, a rank sends them when it is ready, `difference` compares two.

>>> difference(DataFingerprint(length=9, exact="a1"), DataFingerprint(length=8, exact="b2"))
'length'
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from motley.trainer.contract.validate import figure, name, whole

SLIGHT = 0.02  # of the largest value: what two ways to decode a picture differ by, on average, at most
MOST_VALUES = 4096  # that a rank may send
MOST_WORDS = 32  # of an identity, as a task may give it
FROZEN = "frozen weights"  # in an identity: those that every host has by itself
SAME_DATA = "Give all hosts the same: [data] push does"
SAME_ALL = "Give all hosts the same files and the same versions of libraries"
SAME_MODEL = "Give all hosts the model that the run began with: [data] push does"
Difference = Literal["identity", "length", "listing", "costs", "samples", "values"]
_ASIDE = re.compile(r" \([^()]*\)$")  # of a word: told, not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFingerprint:
    """`exact` is the hash of a few samples, `kind` that of all about them that has to be equal in any case: shapes,
    types, texts, whole numbers. `values`: some of their other numbers, tensor by tensor. `at`: the line of the user's
    own loop that names the data; empty for a task. `listing`: the hash of the names of all samples, where they have
    names. `costs`: the hash of what the task says of each sample, its work and its length; empty where it says none.
    `identity`: what the task itself says must be the same, by name, and after it `FROZEN`."""

    length: int
    exact: str
    kind: str = ""
    values: tuple[tuple[float, ...], ...] = ()
    at: str = ""
    listing: str = ""
    costs: str = ""
    identity: tuple[tuple[str, str], ...] = ()

    def to_table(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> DataFingerprint:
        """Raises KeyError, TypeError or ValueError when it makes no sense."""
        values = tuple(tuple(figure(value) for value in row) for row in table["values"])
        if sum(map(len, values)) > MOST_VALUES:
            raise ValueError("too many values in a fingerprint")
        words = tuple((name(key), name(word)) for key, word in table.get("identity", ()))
        if len(words) > MOST_WORDS + 1:
            raise ValueError("too many words in an identity")
        return cls(
            length=whole(table["length"]), exact=str(table["exact"]), kind=str(table["kind"]), values=values,
            at=name(table.get("at", "")), listing=name(table.get("listing", "")), costs=name(table.get("costs", "")),
            identity=words,
        )  # fmt: skip


def difference(one: DataFingerprint, other: DataFingerprint) -> Difference | None:
    """None: the same. "values": the same samples, which differ slightly, as pictures do that other software decoded."""
    if unlike(one, other):  # first: other software makes other samples
        return "identity"
    if one.length != other.length:
        return "length"
    if one.listing != other.listing:
        return "listing"
    if one.costs != other.costs:
        return "costs"
    if one.exact == other.exact:
        return None
    alike = one.kind == other.kind and [*map(len, one.values)] == [*map(len, other.values)]
    return "values" if alike and all(map(_alike, one.values, other.values)) else "samples"


def _alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    largest = max(map(abs, (*one, *other)), default=0.0)
    return sum(abs(a - b) for a, b in zip(one, other)) <= SLIGHT * largest * len(one)


def unlike(one: DataFingerprint, other: DataFingerprint) -> list[str]:
    """The names in which the identities of two differ, in their order."""
    mine, its = ({key: _ASIDE.sub("", word) for key, word in who.identity} for who in (one, other))
    return [key for key in dict.fromkeys((*mine, *its)) if mine.get(key) != its.get(key)]


def refusal(found: Difference, mine: DataFingerprint, its: DataFingerprint, *, rank: str, other: str) -> str:
    """Why this `rank` can't train with the `other`, and what helps.

    >>> refusal("length", DataFingerprint(length=1400, exact="a1"), DataFingerprint(length=1500, exact="b2"),
    ...         rank="rank 1", other="rank 0")
    'rank 1 has other training data than rank 0: 1,400 samples, not 1,500. Give all hosts the same: [data] push does'
    """
    here, than = f"{mine.at}: {rank}" if mine.at else rank, told(found, mine, its)
    if found == "identity":
        return f"{here} differs from {other}: {than}. {SAME_MODEL if unlike(mine, its) == [FROZEN] else SAME_ALL}"
    return f"{here} has other training data than {other}: {than}. {SAME_DATA}"


def told(difference: Difference, mine: DataFingerprint, its: DataFingerprint) -> str:
    """What `mine` is, and not as its.

    >>> told("length", DataFingerprint(length=1400, exact="a1"), DataFingerprint(length=1500, exact="b2"))
    '1,400 samples, not 1,500'
    """
    if difference == "identity":
        words, others = dict(mine.identity), dict(its.identity)
        first, *rest = unlike(mine, its)  # what follows from it, most likely, by name alone
        more = f"; {', '.join(rest)} differ too" if rest else ""
        return f"{first} {words.get(first, 'none')}, not {others.get(first, 'none')}{more}"
    if difference == "length":
        return f"{mine.length:,} samples, not {its.length:,}"
    if difference == "listing":
        what = f"the names of its {mine.length:,} files and their classes"
        return f"{what} have the hash {mine.listing[:8]}, not {its.listing[:8]}"
    if difference == "costs":
        what = f"the work and the lengths of its {mine.length:,} samples"
        return f"{what} have the hash {mine.costs[:8] or 'of none'}, not {its.costs[:8] or 'of none'}"
    return f"8 of its {mine.length:,} samples have the hash {mine.exact[:8]}, not {its.exact[:8]}"
