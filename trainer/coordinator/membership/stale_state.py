"""Whose state counts when a run goes on under another coordinator. Pure.

Each coordinator that takes another's place has a higher *term* (`trainer.contract.term`). A rank that did not hear of
it may have trained on under the former one: then its state is of another line than the one the new term began with, and
is discarded. What a rank remembers of an earlier group under the same leader is of the same line, only older.

    >>> mine = State(Term(1), "box2", generation=4, step=411)
    >>> origin = origin_of(Term(1, 1), "box2", trusted=[mine], others=[])
    >>> counts(mine, origin), counts(State(Term(0, 1), "box1", generation=5, step=430), origin)
    (True, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from motley.trainer.contract.term import Term


class State(NamedTuple):
    """The last group that a rank was in, who led it, and the steps it has completed; -1 is none."""

    term: Term
    leader: str
    generation: int
    step: int

    @property
    def group(self) -> tuple[Term, str, int]:
        return self.term, self.leader, self.generation


def origin_of(term: Term, leader: str, *, trusted: Iterable[State], others: Iterable[State]) -> State | None:
    """What the first group of a `term` under `leader` goes on from.

    When it has led a group since a console named it, the newest state of that line, whoever has it. Else the newest of
    those that the console named it for, the `trusted`; of `others` if these have none. One of the others that was in
    the same group, and completed a step more of it, has the newest.
    """

    def age(state: State) -> tuple[int, bool, int, int, int]:
        return state.term.named, state.leader == leader, state.term.restarts, state.generation, state.step

    ours, theirs = ([state for state in states if state.step >= 0] for states in (trusted, others))
    own = [state for state in (*ours, *theirs) if (state.term.named, state.leader) == (term.named, leader)]
    if not own and not ours:
        return max(theirs, default=None, key=age)
    newest = max(own or ours, key=age)
    return max([newest, *(state for state in theirs if state.group == newest.group)], key=lambda state: state.step)


def counts(state: State, origin: State) -> bool:
    """Whether a state of a lower term is of the line of the origin."""
    same = (state.term.named, state.leader) == (origin.term.named, origin.leader)
    earlier = (state.term, state.generation) <= (origin.term, origin.generation)
    return same and earlier and state.step <= origin.step
