"""A run in a job that Slurm has started again: which checkpoint counts, and what hosts are given anew."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
from pathlib import Path

import pytest

from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import Term
from motley.trainer.contract.wire import Event, decode
from motley.trainer.health.job_warning import REQUEUED, JobWarning
from motley.trainer.host.checkpoint_request import answered, asked
from motley.trainer.host.journal import Journal
from motley.trainer.host.lock_and_spec import take_lock
from motley.trainer.host.paths import read_json, run_folder
from motley.trainer.host.processes import tags
from motley.trainer.requeue.requeued import named, newest_of, requeued, taken_up, tell, to_go_on_from
from motley.trainer.verbs.attach import new_chunks
from tests.trainer.coordinating import spec


def write(run: Path, host: str, name: str, *, step: int, line: int = 0, damaged: bool = False) -> None:
    folder = run / host / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    content = b"weights" + checkpoint_trailer.beginning(step, line)
    content += hashlib.sha256(content).hexdigest().encode() + b"\n"
    (folder / name).write_bytes(b"W" * damaged + content[damaged:])


def test_the_newest_that_is_whole_counts_whichever_host_has_left_it(tmp_path: Path) -> None:
    write(tmp_path, "box1", "epoch_1.pt", step=10)
    write(tmp_path, "box2", "held.pt", step=31)
    write(tmp_path, "box2", "step_40.pt", step=40, damaged=True)
    (tmp_path / "box3").mkdir()

    found = newest_of(tmp_path)

    assert found is not None
    assert (found.folder, found.name, found.trailer.step) == (tmp_path / "box2/checkpoints", "held.pt", 31)
    write(tmp_path, "box1", "stop.pt", step=12, line=1000)
    assert getattr(newest_of(tmp_path), "name", "") == "stop.pt"  # of the next job, which had begun with an older one
    assert newest_of(tmp_path / "box3") is None


def test_the_checkpoint_that_a_console_names_must_be_there_and_whole(tmp_path: Path) -> None:
    write(tmp_path, "box1", "step_40.pt", step=40)
    write(tmp_path, "box1", "step_50.pt", step=50, damaged=True)

    assert named(tmp_path / "box1", "step_40.pt").trailer.step == 40
    with pytest.raises(ValueError, match="step_50.pt is damaged"):
        named(tmp_path / "box1", "step_50.pt")
    with pytest.raises(FileNotFoundError):
        named(tmp_path / "box1", "step_60.pt")


def test_each_job_has_terms_of_its_own_and_a_leader_where_the_job_is(tmp_path: Path) -> None:
    write(tmp_path, "box1", "stop.pt", step=12)
    before = dataclasses.replace(spec(2), joins=True, term=Term(2, 1))

    again = taken_up(before, leader="box1", address="10.0.0.9", restarts=2, newest=newest_of(tmp_path))

    assert again.term == Term(2000) > taken_up(before, leader="box1", address="", restarts=1, newest=None).term
    assert (again.leader_address, again.joins, again.resume) == ("10.0.0.9", False, str(tmp_path / "box1/checkpoints"))
    assert again.resumed_from == before.run
    assert (again.members, again.token) == (before.members, before.token)


def resuming(place: Path) -> Spec:
    """That of a run which began with a checkpoint of `day`."""
    return dataclasses.replace(spec(2), resume=str(place), resume_of="day")


@pytest.mark.parametrize("place", ["day/box0/checkpoints", "day/box0/checkpoints/best.pt"])
def test_before_its_first_checkpoint_it_begins_with_that_of_the_other_run_once_more(tmp_path: Path, place: str) -> None:
    write(tmp_path / "day", "box0", "best.pt", step=120)
    write(tmp_path / "day", "box0", "final.pt", step=99)
    (tmp_path / "night/box0").mkdir(parents=True)
    before = resuming(tmp_path / place)

    newest = to_go_on_from(tmp_path / "night/box0", before)
    again = taken_up(before, leader="box0", address="10.0.0.9", restarts=1, newest=newest)
    twice = taken_up(again, leader="box0", address="", restarts=2, newest=to_go_on_from(tmp_path / "night/box0", again))

    assert newest is not None
    assert (again.resume, again.resumed_from) == (str(tmp_path / place), "day")
    assert (twice.resume, twice.resumed_from) == (str(tmp_path / place), "day")
    tell(tmp_path, again, newest, 1, began_with="day")
    assert told(tmp_path)["requeued"].text == "requeued by Slurm: goes on at step 120, from best.pt of 'day'"
    write(tmp_path / "night", "box0", "epoch_1.pt", step=130)
    own = taken_up(before, leader="box0", address="", restarts=1, newest=to_go_on_from(tmp_path / "night/box0", before))
    assert (own.resume, own.resumed_from) == (str(tmp_path / "night/box0/checkpoints"), "night")


def test_where_that_checkpoint_is_gone_or_damaged_it_says_so(tmp_path: Path) -> None:
    write(tmp_path / "day", "box0", "best.pt", step=120, damaged=True)
    before = resuming(tmp_path / "day/box0/checkpoints")

    assert to_go_on_from(tmp_path / "night/box0", before) is None
    assert to_go_on_from(tmp_path / "night/box0", resuming(tmp_path / "nowhere/best.pt")) is None
    anew = taken_up(before, leader="box0", address="", restarts=1, newest=None)
    assert (anew.resume, anew.resumed_from) == (None, None)
    tell(tmp_path, anew, None, 1, began_with=before.resumed_from)
    assert "begins anew, without a checkpoint: that of 'day'" in told(tmp_path)["requeued"].text


def test_hosts_that_do_not_lead_still_know_what_the_run_began_with(tmp_path: Path) -> None:
    again = taken_up(resuming(tmp_path / "day/box0/checkpoints"), leader="box1", address="", restarts=1, newest=None)

    assert again.resumed_from == "day"


def test_a_host_that_another_console_has_had_take_the_run_up_is_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = run_folder("night", "box0")
    lock = take_lock(folder)
    for name, value in tags("night", "box0", folder).items():
        monkeypatch.setenv(name, value)  # else it would go on as another process
    (folder / "spec.json").write_text(spec(2).to_json())
    answer = io.StringIO()

    code = requeued("night", "box0", answer, leader="box0", address="127.0.0.1", restarts=1)

    os.close(lock)
    assert (code, json.loads(answer.getvalue())) == (0, {"ok": True, "already": True})


def told(folder: Path) -> dict[str, Event]:
    events = [decode(line) for chunk in new_chunks(folder, {}, whole=True) for line in chunk.text.splitlines()]
    return {event.kind: event for event in events if isinstance(event, Event)}


def test_who_follows_hears_of_it_and_of_who_leads(tmp_path: Path) -> None:
    tell(tmp_path, taken_up(spec(2), leader="box1", address="10.0.0.9", restarts=1, newest=None), None, 1)

    kinds = told(tmp_path)
    assert kinds["requeued"].text == "requeued by Slurm: begins anew, without a checkpoint"
    assert (kinds["leader"].data["leader"], kinds["leader"].data["term"]) == ("box1", [1000, 0])


@pytest.mark.parametrize("requeue", [True, False])
def test_at_the_warning_a_checkpoint_is_asked_for_and_the_run_ends_for_the_next_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requeue: bool
) -> None:
    monkeypatch.setenv(REQUEUED, "1" * requeue)
    before = signal.getsignal(signal.SIGUSR1)
    warning = JobWarning(spec(2), tmp_path, Journal(tmp_path, host="box1", source="supervisor"))
    try:
        warning.heed()
        assert not warning.ends_run(leads=True)
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert not warning.ends_run(leads=False)
    assert not asked(tmp_path)
    assert not warning.ends_run(leads=True)
    assert not warning.ends_run(leads=True)
    answered(tmp_path, asked(tmp_path))

    assert warning.ends_run(leads=True) == requeue
    assert bool(read_json(tmp_path / "stop.json")) == requeue
