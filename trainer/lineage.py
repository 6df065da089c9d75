"""Whose state counts when a run goes on under another coordinator. Pure.

Each coordinator that takes another's place has a higher *term*. A rank that did not hear of it may have trained on
under the former one: then its state is of another line than the one the new term began with, and is discarded. What a
rank remembers of the very group that the new term goes on from is of the same line, only older.

    >>> origin = origin_of(trusted=[State(term=1, generation=4, step=411)], others=[])
    >>> counts(State(term=1, generation=4, step=411), origin), counts(State(term=1, generation=5, step=430), origin)
    (True, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class State(NamedTuple):
    """The last group that a rank was in, and the steps it has completed; -1 is none."""

    term: int
    generation: int
    step: int


def origin_of(*, trusted: Iterable[State], others: Iterable[State]) -> State | None:
    """What the first group of a term goes on from: the newest of those it is to begin with; of `others` if these have
    none. One of the others that was in the same group, and completed a step more of it, has the newest."""
    ours, theirs = ([state for state in states if state.step >= 0] for states in (trusted, others))
    if not ours:
        return max(theirs, default=None)
    newest = max(ours, key=lambda state: state.step)
    return max([newest, *(state for state in theirs if state[:2] == newest[:2])], key=lambda state: state.step)


def counts(state: State, origin: State) -> bool:
    """Whether a state of a lower term is of the line of the origin."""
    return state[:2] == origin[:2] and state.step <= origin.step
