"""What a restart goes on from."""

from __future__ import annotations

from dataclasses import replace

from motley.console.control.questions import restart, stop
from motley.console.control.run_life import RunLife
from motley.remote.feed import Ended
from tests.console import scripted
from tests.console.scripted import START, event


def life(*, script: bool) -> RunLife:
    made = RunLife(scripted.plan()[0], clock=lambda: START)
    made.store.apply(replace(scripted.layout(), script=script), START)
    members = [{"member": n, "host": host} for n, host in enumerate(scripted.HOSTS)]
    made.store.apply(event("group", "all are ready", generation=0, members=members), START)
    return made


def test_a_script_that_has_left_results_is_gone_on_from_and_no_other() -> None:
    made = life(script=True)
    assert made.to_resume() is None
    question = restart(made.snapshot(), resumes=False)
    assert question is not None
    assert question.detail.endswith("A new one starts from the beginning.")
    made.store.apply(event("results", "results of desktop are brought to results/desktop"), START)
    assert made.to_resume() == "home-1"
    question = restart(made.snapshot(), resumes=True)
    assert question is not None
    assert question.detail.endswith("A new one has its newest results to go on from.")
    asked = stop(made.snapshot())
    assert asked is not None
    assert asked.detail.endswith("motley run --resume goes on from its results.")
    made.store.apply(Ended(state="finished", summary={}), START)
    assert made.to_resume() is None


def test_a_task_is_gone_on_from_once_it_has_made_a_step() -> None:
    made = life(script=False)
    assert made.to_resume() is None
    for sample in (record for _, record in scripted.training(2, now=lambda: START)):
        made.store.apply(sample, START)
    assert made.to_resume() == "home-1"
