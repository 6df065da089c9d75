"""The trackers that Motley can write to: their libraries, whether they are installed, and how they are.

>>> installed("mlflow"), missing(["wandb"])
(True, ["wandb is not installed where Motley is: pip install 'motley-cluster[wandb]'"])
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motley.console.tracking.sink import RunInfo, Sink

DEFAULT = "tensorboard"  # where it is installed and nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """`packages`: what has to be importable. `last_python`: the newest that it has wheels for."""

    packages: tuple[str, ...]
    last_python: tuple[int, int] | None = None


TRACKERS = {
    "tensorboard": Tracker(packages=("tensorboard",)),
    "wandb": Tracker(packages=("wandb",)),
    "mlflow": Tracker(packages=("mlflow", "sqlalchemy", "alembic")),
    "trackio": Tracker(packages=("trackio",)),
    "aim": Tracker(packages=("aim",), last_python=(3, 12)),
}


def installed(tracker: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in TRACKERS[tracker].packages)


def chosen(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """What `[track] with` comes to."""
    return tuple(wanted) if wanted is not None else (DEFAULT,) if installed(DEFAULT) else ()


def missing(wanted: Iterable[str]) -> list[str]:
    """What to say of each that is not installed, with what installs it."""
    return [_remedy(tracker) for tracker in wanted if not installed(tracker)]


def _remedy(tracker: str) -> str:
    last = TRACKERS[tracker].last_python
    text = f"{tracker} is not installed where Motley is: pip install 'motley-cluster[{tracker}]'"
    if last is not None and sys.version_info[:2] > last:
        text += f" needs Python {last[0]}.{last[1]} or older, this is {sys.version_info[0]}.{sys.version_info[1]}"
    return text


def opener(tracker: str) -> Callable[[RunInfo], Sink]:
    """What opens its sink; imports its library. Raises ImportError."""
    module = importlib.import_module(f"motley.console.tracking.sinks.{tracker}_sink")
    found: Callable[[RunInfo], Sink] = module.open_sink
    return found
