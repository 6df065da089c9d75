"""Which checkpoint on a volume is the newest of a run, whichever pod led it, and however often it began again."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.wire import Event
from motley.trainer.pod import attempts
from tests.support.ports import free_pair
from tests.trainer.pod.pods import BOUND_S, Pods, description_of


def checkpoint(runs: Path, place: str, *, step: int, line: int = 0) -> Path:
    """As the loop writes one, in `attempt/host`; a place has one of each step and line, and no other has the same."""
    path = runs / place / "checkpoints" / f"step_{step}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = place.encode() + checkpoint_trailer.beginning(step, line)
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode() + b"\n")
    return path


def newest(runs: Path) -> Path | None:
    found = attempts.first_whole(attempts.left(runs, "night"), print)
    return found.path if found is not None else None


def test_the_newest_is_that_of_the_pod_that_led_last_wherever_its_folder_lies(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    checkpoint(tmp_path, "nightly/large", step=900)
    checkpoint(tmp_path, "night.old/large", step=900)
    own = checkpoint(tmp_path, "night.1/large", step=40)
    assert newest(tmp_path) == own

    others = checkpoint(tmp_path, "night/small-0", step=30, line=1)

    assert newest(tmp_path) == others
    assert [one.attempt for one in attempts.left(tmp_path, "night")] == ["night", "night.1"]


def test_a_damaged_one_is_passed_over_and_told(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, "night.1/large", step=40)
    damaged = checkpoint(tmp_path, "night/small-0", step=50)
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    said: list[str] = []

    found = attempts.first_whole(attempts.left(tmp_path, "night"), said.append)

    assert found is not None
    assert found.path == whole
    assert said == [f"checkpoint left out: {damaged}: it is damaged"]


def test_what_was_there_before_the_run_began_again_is_older_than_what_came_since(tmp_path: Path) -> None:
    """The line of a leader that a console has named is that of one attempt: the next one counts from 0."""
    checkpoint(tmp_path, "night.1/large", step=40)
    before = checkpoint(tmp_path, "night.1/small-0", step=60, line=1)
    attempts.note_before(tmp_path / "night/large", attempts.left(tmp_path, "night"))
    assert newest(tmp_path) == before

    since = checkpoint(tmp_path, "night/large", step=80)

    assert newest(tmp_path) == since
    assert attempts.put_aside(tmp_path / "night/large") is None  # it has no spec: nothing was started
    (tmp_path / "night/large/spec.json").write_text("{}")
    assert attempts.put_aside(tmp_path / "night/large") == tmp_path / "night.2/large"
    assert newest(tmp_path) == tmp_path / "night.2/large/checkpoints/step_80.pt"


def test_a_note_that_was_cut_short_counts_for_nothing(tmp_path: Path) -> None:
    only = checkpoint(tmp_path, "night/large", step=4)
    (tmp_path / "night/large" / attempts.BEFORE).write_text('["5f')

    assert newest(tmp_path) == only


def said(pods: Pods, name: str, words: str) -> str:
    """What the pod itself says with these words in it, once it does."""
    deadline = time.monotonic() + BOUND_S
    while True:
        told = [r.text for r in pods.records(name) if isinstance(r, Event) and r.source == "pod" and words in r.text]
        if told:
            return told[0]
        assert time.monotonic() < deadline, pods.log(name).read_text()
        time.sleep(0.1)


@pytest.mark.ranks
def test_all_pods_that_begin_again_go_on_from_what_another_pod_has_left(tmp_path: Path) -> None:
    description = description_of("gpu", "cpu", port=free_pair())
    runs = tmp_path / "gpu/.motley/runs"
    checkpoint(runs, "night.1/gpu", step=4)
    checkpoint(runs, "night/cpu", step=8, line=1)
    with Pods(tmp_path, description) as pods:
        pods.start("gpu", RANK="0", MASTER_ADDR="localhost")

        text = said(pods, "gpu", "goes on from")

    assert text == "goes on from the newest checkpoint of the earlier attempt 'night': cpu/step_8.pt, step 8"
    assert len((runs / "night/gpu" / attempts.BEFORE).read_text().split(",")) == 2


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ("old", None, "goes on from 'old': small-0/step_9.pt, step 9"),
        ("old/step_7.pt", None, "goes on from 'old': large/step_7.pt, step 7"),
        ("old/best.pt", 1, "has no good checkpoint best in {runs}/old; there are step_9, step_7"),
        ("nosuch", 1, "has no checkpoint in {runs}/nosuch"),
    ],
)
def test_another_run_is_gone_on_from_wherever_its_leader_was(
    tmp_path: Path, asked: str, code: int | None, words: str
) -> None:
    runs = tmp_path / "gpu/.motley/runs"
    checkpoint(runs, "old.1/large", step=7)
    checkpoint(runs, "old/small-0", step=9)
    description = description_of("gpu", port=free_pair(), resume=(str(runs / asked), asked.partition("/")[0]))
    with Pods(tmp_path, description) as pods:
        pods.start("gpu", RANK="0", MASTER_ADDR="localhost")

        if code is None:
            assert said(pods, "gpu", "goes on from") == words
        else:
            assert pods.code("gpu") == code
            assert words.format(runs=runs) in pods.log("gpu").read_text()
