"""What the ranks themselves told of a run, where the summary of the host that leads can't be had."""

from __future__ import annotations

from dataclasses import replace

from motley.remote.diagnosis.heard import KEPT, Heard
from motley.remote.experiment.fetch import final_summary
from motley.remote.feed import Link
from motley.trainer.contract.wire import Event, Sample
from tests.remote.experiment.machines import HOSTS, event, sample


def told(step: int, member: int, *, epoch: int = 0, time: float | None = None, generation: int = 0) -> Sample:
    made = sample(step - 1, host=HOSTS[member], member=member, batch=(12, 4)[member])
    at = 1000.0 + step if time is None else time
    return replace(made, epoch=epoch, time=at, generation=generation, step_batch=16)


def of(*records: Sample | Event | Link) -> Heard:
    heard = Heard()
    for record in records:
        heard.hear(record)
    return heard


def test_steps_samples_time_and_shares_are_those_that_ranks_told_of() -> None:
    ahead = Link(host="box1", up=True, text="connected", clock_offset_s=3600.0)
    lines = [told(step, 0, epoch=step // 10) for step in range(1, 26)]
    others = [told(step, 1, epoch=step // 10, time=4600.0 + step) for step in range(1, 25)]
    decision = replace(event("new split"), kind="decision", time=1001.0)
    evaluated = replace(event("epoch 3"), kind="evaluated", data={"epoch": 3}, time=1026.0)
    console = replace(event("stopping"), source="console", host="console", time=9999.0)
    figures = of(ahead, *lines, *others, decision, evaluated, console).figures()
    assert figures == {
        "steps": 25, "epochs": 3, "samples": 25 * 16, "seconds": 25.0, "rebalances": 1,
        "shares": {"box0": 0.75, "box1": 0.25},
    }  # fmt: skip


def test_steps_that_were_undone_count_once_and_a_host_that_was_lost_has_no_share() -> None:
    first = [told(step, member) for member in (0, 1) for step in range(1, 8)]
    again = [told(step, 0, generation=1) for step in range(6, 21)]
    figures = of(*first, *again).figures()
    assert (figures["steps"], figures["samples"], figures["shares"]) == (20, 20 * 16, {"box0": 1.0})
    back = of(*[told(step, 0) for step in range(1, 21)], told(11, 0, generation=1)).figures()
    assert (back["steps"], back["samples"]) == (11, 11 * 16)


def test_what_was_not_heard_of_is_not_known() -> None:
    assert of().figures() == {
        "steps": None, "epochs": None, "samples": None, "seconds": None, "rebalances": 0, "shares": {},
    }  # fmt: skip
    late = of(told(9, 0), told(1, 1)).figures()  # another host has more of it
    assert (late["steps"], late["samples"]) == (9, None)
    assert of(told(1, 0), told(3, 0)).figures()["samples"] is None
    far = of(*[told(step, 0) for step in range(1, KEPT + 10)], told(2, 0)).figures()
    assert (far["steps"], far["samples"]) == (2, None)


def test_a_summary_without_the_leader_s_has_what_was_heard_and_null_for_the_rest() -> None:
    heard = of(*[told(step, member) for member in (0, 1) for step in range(1, 4)]).figures()
    table = final_summary("night", None, {"box0": "stopped"}, HOSTS, True, heard=heard, ranks={"box0": 1, "box1": 1})
    assert [table[key] for key in ("state", "steps", "epochs", "samples", "seconds")] == ["stopped", 3, 0, 48, 2.0]
    assert (table["samples_per_s"], table["final_loss"], table["regroups"], table["phases"]) == (None, None, [], {})
    assert table["hosts"] == [
        {"name": "box0", "ranks": 1, "share": 0.75, "samples_per_s": None, "state": "stopped"},
        {"name": "box1", "ranks": 1, "share": 0.25, "samples_per_s": None, "state": "lost"},
    ]
    nothing = final_summary("night", None, {}, HOSTS, True)
    assert [nothing[key] for key in ("steps", "samples", "seconds", "samples_per_s", "rebalances")] == [None] * 5
