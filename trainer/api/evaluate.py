"""Evaluation between two steps: `run.batches` and `run.mean`, exact also when a rank is lost in the middle.

Ranks tell each other which samples they are done with, before the first batch and after the last one. What nobody is
done with is shared out, until nothing is left: so what a lost rank had comes to those that stay, and nobody's totals
count twice. What each of these calls gave is kept until the next step (`Peers.results`), for a rank whose group broke
in a call that another one got through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from motley.trainer.api.evaluation_parts import Interval, batches, left_over, parts
from motley.trainer.api.misuse import line, misuse, named, project
from motley.trainer.api.peers import Peers
from motley.trainer.api.ranks import GroupBroken, Ranks
from motley.trainer.data.batch import Batch
from motley.trainer.data.fetch import Source
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training import batchnorm


class Evaluation:
    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._calls = 0  # since the last step
        self._open: tuple[str, int] | None = None  # the line of a `batches` that is not through, or that left it

    def begin(self) -> None:
        """A step comes: what was called before it is over."""
        self._calls = 0

    def look(self) -> None:
        """Before what all ranks do together. Raises SessionError when a loop over `batches` was left in the middle."""
        if self._open is not None:
            raise misuse(
                "the loop over run.batches is not at its end",
                "Go through all of it, with `continue` where there is nothing to do: ranks have different numbers of "
                "batches, and the others wait",
                at=named(self._open),
            )

    def batches(self, source: Source, size: int, modules: Sequence[nn.Module]) -> Iterator[Any]:
        self.look()
        self._open = line()
        try:
            yield from self._batches(source, size, modules)
        except GeneratorExit:  # break, return, or the user's own error: nobody would hear what is raised here
            self._open = line()
            raise
        self._open = None

    def _batches(self, source: Source, size: int, modules: Sequence[nn.Module]) -> Iterator[Any]:
        done: list[Interval] = []
        combined = False
        number, self._calls = self._calls, self._calls + 1
        while (ranks := self._peers.between()) is not None and len(self._peers.results) <= number:
            weights = self._peers.shares_of(ranks)
            weights = weights if any(weights) else (1,) * len(weights)
            place = ranks.members.index(self._peers.rank)
            try:
                said = everybodys(ranks, done, combined=combined)
                if not all(one.combined for one in said):
                    for module in modules:
                        batchnorm.combine(module, weights[place] / sum(weights), ranks.add_up)
                    combined = True
                    continue
            except GroupBroken as error:
                self._peers.broke(str(error))
                continue
            left = left_over(len(source), [interval for one in said for interval in one.done])
            if not left:
                self._note(number, math.nan)
                return
            for start, stop in batches(parts(left, weights)[place], size):
                yield self._take(source, start, stop)
                done.append((start, stop))
                self._peers.works()
                if self._peers.is_broken():  # not when all of this part is done: that may be long
                    self._peers.broke("another rank was lost")
                    break

    def mean(self, total: float, count: float) -> float:
        self.look()
        number, self._calls = self._calls, self._calls + 1
        before = 0
        while (ranks := self._peers.between()) is not None and len(self._peers.results) <= number:
            if len(ranks) < before:
                self._peers.warn(
                    "run.mean: a rank was lost after its part of the evaluation, which is missing in the mean"
                )
            before = len(ranks)
            both = torch.tensor([total, count], dtype=torch.float64)
            try:
                ranks.add_up([both])
            except GroupBroken as error:
                self._peers.broke(str(error))
                continue
            self._note(number, float(both[0] / both[1]) if both[1] else math.nan)
        return self._peers.results[number] if ranks is not None else math.nan

    def _note(self, number: int, result: float) -> None:
        """A call of `batches` before it may have been left in the middle, on all ranks."""
        results = self._peers.results
        results.extend([math.nan] * (number - len(results)) + [result])

    def _take(self, source: Source, start: int, stop: int) -> Any:
        with user_code(project()):
            content = source.take(torch.arange(start, stop), self._peers.seed)
        return Batch(content, stop - start).to(self._peers.device).content


@dataclass(frozen=True, slots=True)
class Said:
    """How far a rank is: whether it has combined its BatchNorms, and the samples that it is done with."""

    combined: bool
    done: list[Interval]


def everybodys(ranks: Ranks, done: Sequence[Interval], *, combined: bool) -> list[Said]:
    found = [one.tolist() for one in ranks.gather(torch.tensor([combined, len(done)]))]
    most = max(count for _, count in found)
    mine = torch.tensor([*done, *([(0, 0)] * (most - len(done)))], dtype=torch.int64).reshape(most, 2)
    rows = ranks.gather(mine) if most else [mine] * len(found)
    return [
        Said(bool(is_combined), [(start, stop) for start, stop in one[:count].tolist()])
        for one, (is_combined, count) in zip(rows, found)
    ]
