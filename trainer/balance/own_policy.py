"""A balancing policy of the user's own: a pure function from measured costs to shares. No torch.

    # mine.py
    def shares(costs, global_batch, now):
        speeds = [1 / cost.ms_per_sample for cost in costs]
        ...
        return [96, 32]             # samples of a step, in the order of `costs`

Rank 0 calls it when a window ends, once every rank is measured (`trainer.balance.balancer`). What it gives is checked;
what it raises, or gives that can't be, is told once with its file and line, and the shares stay as they are.
"""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.profiles.cost import CostModel
from motley.profiles.rebalance_proposal import Proposal, step_ms
from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.spec import Member
from motley.trainer.errors import TaskError, told
from motley.trainer.host.error_place import place
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import project_folder

STAY = "the shares stay as they are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What is known of one rank: a step of b samples takes it `fixed_ms + ms_per_sample * b` by itself, fitted to what
    it has measured."""

    host: str
    device: str  # "cpu", "cuda:0"
    fixed_ms: float
    ms_per_sample: float
    max_batch: int | None  # of cluster.toml: more samples it may not be given

    def ms(self, samples: int) -> float:
        """Of a step with so many samples, without what ranks wait for each other."""
        return self.fixed_ms + self.ms_per_sample * samples


Shares = Callable[[Sequence[Cost], int, Sequence[int]], Sequence[int]]


class Policy:
    """The function, and what was told of it so far. One a process: what was told once stays told in the next group."""

    def __init__(self, function: Shares, *, name: str, project: Path) -> None:
        """`name`: as cluster.toml has it, for who reads of it."""
        self._function = function
        self._name = name
        self._project = project
        self._told: set[str] = set()

    def propose(
        self,
        members: Sequence[Member],
        models: Sequence[CostModel],
        shares: tuple[int, ...],
        *,
        scatter: Sequence[float],
        rest_ms: float,
        journal: Journal,
    ) -> Proposal:
        """To move to what the function gives. Every model is known. Raises nothing of the user's.

        `scatter`, `rest_ms`: as `profiles.rebalance_proposal` has them.
        """
        total, caps = sum(shares), [m.max_batch for m in members]
        lines = [model.line for model in models]
        costs = tuple(
            Cost(host=m.host, device=m.device, fixed_ms=line.a, ms_per_sample=line.c, max_batch=m.max_batch)
            for m, line in zip(members, lines)
        )
        after = shares
        try:
            given = self._function(costs, total, shares)
            after = checked(given, total, [m.host for m in members], caps)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told of; no reason to end a run
            self._tell(error, journal)
        now_ms, then_ms = (step_ms(models, split, scatter, rest_ms) for split in (shares, after))
        return Proposal(
            moves=after != shares,
            shares=after,
            current_ms=now_ms,
            predicted_ms=then_ms,
            noise_ms=None,
            why=f"{self._name} says so",
        )

    def _tell(self, error: BaseException, journal: Journal) -> None:
        """Once for each line that it comes from, or each thing that is wrong with what was given."""
        code = getattr(self._function, "__code__", None)
        defined = self._name
        if code is not None and Path(code.co_filename).is_relative_to(self._project):
            defined = f"{Path(code.co_filename).relative_to(self._project)}:{code.co_firstlineno}"
        where = defined if isinstance(error, WrongShares) else place(error, self._project, defined)
        what = str(error) if isinstance(error, WrongShares) else _raised(error)
        key = f"{where} {error.kind}" if isinstance(error, WrongShares) else where
        if key in self._told:
            return
        self._told.add(key)
        journal.write("policy", f"{where}: {what}; {STAY}", "warning", policy=self._name)


class WrongShares(ValueError):
    """What the function gave is no split. `kind` is what is wrong with it, without its figures."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


def checked(given: Any, total: int, hosts: Sequence[str], caps: Sequence[int | None]) -> tuple[int, ...]:
    """Whole numbers, one for each rank, none below 0 or above its cap, that make up the global batch.

    Raises WrongShares, or what going through `given` raises.
    """
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise WrongShares("kind", f"it gave {given!r:.60}, wanted are {len(hosts)} whole numbers")
    numbers = list(given)
    if len(numbers) != len(hosts):
        raise WrongShares("length", f"it gave {len(numbers)} shares for {len(hosts)} ranks")
    found = []
    for number, host, cap in zip(numbers, hosts, caps):
        try:
            share = operator.index(number)
        except TypeError:
            share = -1
        if isinstance(number, bool) or share < 0:
            raise WrongShares("number", f"it gave {host} {number!r:.40} samples, wanted is a whole number from 0 on")
        if cap is not None and share > cap:
            raise WrongShares("cap", f"it gave {host} {share} samples, its max_batch is {cap}")
        found.append(share)
    if sum(found) != total:
        raise WrongShares("sum", f"its shares add up to {sum(found)}, the global batch is {total}")
    return tuple(found)


def load_policy(own: OwnPolicy, name: str) -> Policy:
    """`name`: as cluster.toml has it. Raises TaskError for a file that can't be imported or lacks the function."""
    folder = project_folder(own.tree)
    first = str((folder / own.file).parent if own.file else folder)
    if first not in sys.path:
        sys.path.insert(0, first)
    module = own.module or Path(own.file).stem
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        where = place(error, folder, name)
        raise TaskError(f"[balance] policy: {where}: {_raised(error)}", "Mend it, and start again") from error
    if own.file and Path(str(found.__file__)) != folder / own.file:
        raise TaskError(f"{name}: Python has another module {module} already", "Give the file another name")
    function = getattr(found, own.name, None)
    if not callable(function):
        file = Path(str(found.__file__)).name
        remedy = f"def {own.name}(costs, global_batch, now): …"
        raise TaskError(f"[balance] policy: {file} has no function {own.name}", remedy)
    return Policy(function, name=name, project=folder)


def _raised(error: BaseException) -> str:
    return told(error)[0] if isinstance(error, Exception) else f"{type(error).__name__}: {error}"
