"""A task that comes with Motley and has parameters of `[task]`: a `Task` as people write them, that is told more.

    >>> class CausalLM(IncludedTask):
    ...     @property
    def devices(self) -> tuple[torch.device, ...]:
        return (self.device, *self.beside)

    def begin(self):
    ...         with at_work(self.note, "importing transformers"):
    ...             import transformers

What takes a minute is said to `note` again and again, as long as this process computes: so those that wait for this
rank know that it gets on, and `run.join_timeout_s` ends only what has come to a halt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.tasks.download import Note
from motley.trainer.tasks.task import Task

SAY_S = 10.0  # how often it is said; far below any `join_timeout_s` that makes sense
LEAST_CPU_S = 0.01  # between two times, of a process that gets on


class IncludedTask(Task):
    """The attributes are there from the start, as are those of every task."""

    run: RunOptions = RunOptions()  # `[run]`
    device: torch.device = torch.device("cpu")  # that this process computes on
    beside: tuple[torch.device, ...] = ()  # further cards of this process, where it has several
    note: Note = staticmethod(lambda _text, _fraction: None)  # hears of what takes long

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return (self.device, *self.beside)

    def begin(self) -> None:
        """Where it is to be trained, before anything else is asked of it: what can be said of the host and the
        parameters alone. Raises TaskError for what is missing or does not fit."""


@contextmanager
def at_work(
    note: Note, what: str, *, every_s: float = SAY_S, cpu_s: Callable[[], float] = time.process_time
) -> Iterator[None]:
    """Say `what` this process does to `note`: at once, and every `every_s` seconds while it computes."""
    began, before = time.monotonic(), cpu_s()

    def text() -> str | None:
        nonlocal before
        last, before = before, cpu_s()
        return f"{what}, {time.monotonic() - began:.0f} s" if before - last >= LEAST_CPU_S else None

    note(what, None)
    with said_beside(note, text, every_s=every_s):
        yield


@contextmanager
def said_beside(note: Note, text: Callable[[], str | None], *, every_s: float) -> Iterator[None]:
    """Ask for a `text` every `every_s` seconds, in a thread of its own, and say it to `note`; None: there is none."""
    over = threading.Event()

    def say() -> None:
        while not over.wait(every_s):
            if (now := text()) is not None:
                note(now, None)

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    try:
        yield
    finally:
        over.set()
        saying.join()
