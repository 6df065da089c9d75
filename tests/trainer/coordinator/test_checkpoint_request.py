"""A checkpoint that is asked for reaches rank 0, and the next rank 0 when that one goes before it has answered."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.checkpoint_request import MOST, answered, ask, asked
from motley.trainer.host.paths import run_folder, write_json
from motley.trainer.host.session_mark import mark
from motley.trainer.verbs.checkpoint import checkpoint
from tests.trainer.coordinating import all_in_a_group, coordinating, ready, spec, until


async def test_rank_0_hears_of_it_and_the_next_rank_0_of_what_is_not_answered(tmp_path: Path) -> None:
    given = spec(3)
    ask(tmp_path, "before there is a coordinator")
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        async with until(lambda: lines[0].asked == ["before there is a coordinator"]):
            ask(tmp_path, "first")
        async with until(lambda: lines[0].asked[1:] == ["first"]):
            lines[0].checkpointed(tuple(lines[0].asked))
        async with until(lambda: asked(tmp_path) == ()):
            assert lines[0].asked == []
        ask(tmp_path, "second")
        async with until(lambda: lines[0].asked == ["second"]):
            lines[0].close()  # its process is killed before the step ends
        groups = await asyncio.gather(*(ready(line, generation=0) for line in lines[1:]))
        assert [group.members for group in groups] == [(1, 2)] * 2
        async with until(lambda: lines[1].asked == ["second"]):
            lines[1].checkpointed(["second"])
        assert (lines[0].asked, lines[1].asked, lines[2].asked) == (["second"], [], [])
        for line in lines[1:]:
            line.ended("finished")


def test_as_many_are_known_as_may_not_be_answered_yet(tmp_path: Path) -> None:
    assert asked(tmp_path) == ()
    for number in range(MOST + 3):
        ask(tmp_path, f"{number}")
    assert asked(tmp_path) == tuple(f"{number}" for number in range(3, MOST + 3))
    answered(tmp_path, {f"{number}" for number in range(MOST)})
    assert asked(tmp_path) == tuple(f"{number}" for number in range(MOST, MOST + 3))
    (tmp_path / "checkpoint.json").write_text('{"requests": 7}')
    assert asked(tmp_path) == ()


def there(given: Spec, state: str) -> Path:
    folder = run_folder("night", "box0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(given.to_json())
    write_json(folder / "state.json", {"state": state, "pid": 1, "start": 0, "boot_id": ""})
    return folder


SCRIPT = Script(path="train.py", args=(), tree="ab", port=1)


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "finished", "'night' is finished: nothing is trained any more"),
        ({"leader": "box1"}, "running", "box1 leads 'night', not box0"),
        (
            {"script": SCRIPT},
            "running",
            "'night' runs a script that has not called motley.session(): it writes its checkpoints itself",
        ),
    ],
)
def test_who_can_t_be_asked_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], state: str, said: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = there(replace(spec(1), **changes), state)
    assert checkpoint("night", "box0", "8f2b") == {"error": said}
    assert asked(folder) == ()
    assert "error" in checkpoint("other", "box0", "8f2b")


def test_a_script_is_asked_once_it_is_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = there(replace(spec(1), script=SCRIPT), "running")
    me = {"pid": os.getpid(), "start": processes.start_ticks(os.getpid()), "boot_id": processes.boot_id()}
    write_json(folder / "state.json", {"state": "running", **me})
    mark(folder, lambda text: pytest.fail(text))
    assert checkpoint("night", "box0", "8f2b") == {"asked": "8f2b"}
    assert asked(folder) == ("8f2b",)
