"""A task that comes with Motley and is made of parameters: what takes long is said while it gets on, and only then."""

from __future__ import annotations

import itertools
import threading

from motley.trainer.tasks.included_task import at_work


def test_what_takes_long_is_said_again_while_this_process_computes() -> None:
    said: list[str] = []
    often, clock = threading.Event(), itertools.count()

    def note(text: str, fraction: float | None) -> None:
        assert fraction is None
        said.append(text)
        if len(said) == 4:
            often.set()

    with at_work(note, "importing transformers", every_s=0.001, cpu_s=lambda: float(next(clock))):
        assert said[0] == "importing transformers"
        assert often.wait(30)
    assert all(text.startswith("importing transformers, ") for text in said[1:])


def test_a_process_that_has_come_to_a_halt_says_nothing() -> None:
    said: list[str] = []
    asked = threading.Event()
    times = itertools.count()

    def halted() -> float:
        if next(times) == 5:
            asked.set()
        return 1.5

    with at_work(lambda text, _: said.append(text), "reading", every_s=0.001, cpu_s=halted):
        assert asked.wait(30)
    assert said == ["reading"]
