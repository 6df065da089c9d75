"""What a console says that a run goes on from, and what another one makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.resume_from import ResumeFrom
from motley.remote.launch import resume_words
from motley.trainer.contract.wire import Event, encode


@pytest.mark.parametrize("wanted", [ResumeFrom("day"), ResumeFrom("day", "step_12"), ResumeFrom.of("back up/a.pt")])
def test_what_a_console_says_of_it_is_understood_again(wanted: ResumeFrom) -> None:
    assert resume_words.understood(resume_words.said(wanted)) == wanted
    assert resume_words.understood("goes on from 'day': epoch_1.pt, step 12") is None
    assert resume_words.understood("goes on from the results of 'day', those of box1: 2 files, 3 MB") is None


def test_what_a_host_says_of_it_does_not_count(tmp_path: Path) -> None:
    said = resume_words.said(ResumeFrom("day"))
    told = [Event(time=1.0, host=source, source=source, kind="note", text=said) for source in ("box0", "console")]

    (tmp_path / "events.jsonl").write_bytes(b"no line of ours: goes on from\n" + encode(told[0]))
    assert resume_words.kept(tmp_path) is None
    with (tmp_path / "events.jsonl").open("ab") as events:
        events.write(encode(told[1]))
    assert resume_words.kept(tmp_path) == ResumeFrom("day")
    assert resume_words.kept(tmp_path / "nowhere") is None
