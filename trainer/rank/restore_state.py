"""Where a rank's state comes from when its process begins: a checkpoint, or what a process before it left behind.

>>> go_on(spec, state, journal, classes=("cat", "dog")).step
420
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from motley.trainer.contract.spec import RunOptions, Spec
from motley.trainer.contract.term import Term
from motley.trainer.errors import CheckpointError, TrainerError
from motley.trainer.host.journal import Journal
from motley.trainer.optimize.local_weights import NONE, LocalWeights
from motley.trainer.optimize.train_state import TrainState
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.training import checkpoint
from motley.trainer.training.step_undo import StepUndo

LEFT = ("step", "leader", "generation", "epoch_ends", "best", "best_epoch", "ending_epoch")  # and the term


def leave(folder: Path, member: int, kept: KeptState, state: Mapping[str, Any]) -> None:
    """Keep the state of a process that ends because it hangs: as it is, and what a step that it has begun has changed.
    Nobody knows yet whether another rank completes that step. Raises OSError or RuntimeError where it can't."""
    path = _path(folder, member)
    part = path.with_suffix(".part")
    left = {**{name: getattr(kept, name) for name in LEFT}, "term": list(kept.term)}
    assert isinstance(kept.undo, (StepUndo, type(None)))  # a loop of the user's own leaves nothing behind
    before = {"before": kept.undo.before()} if kept.undo is not None else {}
    torch.save({**state, "left": left, **before}, part)
    part.replace(path)


def take_up(folder: Path, member: int, state: TrainState, device: torch.device) -> KeptState | None:
    """Go on with what a process of this rank left behind, once. None without that: the others have the state."""
    path = _path(folder, member)
    try:
        saved = torch.load(path, weights_only=True)
        path.unlink()
        state.local.check(saved.get("local"), path.name)
        state.load(saved)
        undo = StepUndo.of(state.model, device, saved["before"]) if "before" in saved else None
        return KeptState(**{**saved["left"], "term": Term.of(saved["left"]["term"]), "undo": undo})
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError, CheckpointError):
        path.unlink(missing_ok=True)
        return None


class Loads(Protocol):
    """What takes up the content of a checkpoint: a `TrainState`, or what a user's own loop has prepared."""

    def load(self, saved: Mapping[str, Any]) -> None: ...


def _path(folder: Path, member: int) -> Path:
    return folder / f"rank_{member}.left"


class GoneOn(NamedTuple):
    """How far the run was that another one goes on from. `best` counts for `run.early_stop` alone: else the run finds a
    best checkpoint of its own."""

    step: int
    best: float
    best_epoch: int


def go_on(spec: Spec, state: TrainState, journal: Journal, classes: Sequence[str]) -> GoneOn:
    """Load the checkpoint that `spec.resume` names. `classes`: what the task tells apart. Raises as `loaded` does."""
    path, saved = loaded(spec, state, journal, classes, state.local)
    if "ema" not in saved and state.ema is not None:
        journal.write("note", f"{path.name} has no average of the weights: run.ema begins with the weights there")
    counts = spec.options.early_stop and "best" in saved
    return GoneOn(int(saved["step"]), *((saved["best"], saved["best_epoch"]) if counts else (0.0, 0)))


def loaded(
    spec: Spec, state: Loads, journal: Journal, classes: Sequence[str] = (), local: LocalWeights = NONE
) -> tuple[Path, dict[str, Any]]:
    """Load the checkpoint that `spec.resume` names, or the newest whole one of the folder that it names: damaged ones
    there are said and passed over. Returns it, and what it holds.

    Raises CheckpointError when the one that is named can't be loaded, TrainerError when there is none.
    """

    def skipped(error: CheckpointError) -> None:
        journal.write("note", f"checkpoint left out: {error}", "warning")

    place = Path(spec.resume or "").expanduser()
    for path in [place] if place.suffix == ".pt" else checkpoint.newest(place, skipped):
        saved = checkpoint.load(path)
        _check(saved, spec.options, path)
        _check_classes(saved.get("classes") or [], classes, path)
        local.check(saved.get("local"), path.name)
        state.load(saved)
        journal.write("note", f"goes on from '{spec.resumed_from}': {path.name}, step {saved['step']:,}")
        return path, saved
    raise TrainerError(f"no checkpoint to go on from in {place}", "Start anew, without --resume")


def _check(saved: dict[str, Any], options: RunOptions, path: Path) -> None:
    """A resumed run sees the samples that the old one would have seen, and has its parameter groups, only if these are
    the same."""
    for key in ("task", "global_batch", "seed", "norm", "weight_decay_groups"):
        if key in saved and saved[key] != getattr(options, key):
            raise TrainerError(
                f"{path.name} was made with run.{key} = {saved[key]!r}, now it is {getattr(options, key)!r}",
                "Set it back, or start anew",
            )


def _check_classes(then: Sequence[str], now: Sequence[str], path: Path) -> None:
    """An output that meant one thing must not mean another one: a folder of pictures may have come between two."""
    if not then or not now or list(then) == list(now):
        return
    place = next((i for i, (old, new) in enumerate(zip(then, now)) if old != new), min(len(then), len(now)))
    old, new = (f"'{names[place]}'" if place < len(names) else "none" for names in (then, now))
    raise TrainerError(
        f"{path.name} tells {len(then)} classes apart, the data has {len(now)}: "
        f"number {place + 1} was {old}, now it is {new}",
        "Give it the data of the same classes, or start anew",
    )
