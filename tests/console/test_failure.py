"""A run in which ranks fail, as the user is told of it: on the screen, in plain lines, by a command's last word."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from motley.console.commands.plain import Printer
from motley.console.control.session_protocol import ended
from motley.console.state.own_command import plainly
from motley.console.state.store import Store
from motley.console.view.notice import notice_lines
from motley.console.view.styled_line import text, width_of
from motley.remote.feed import Ended, FeedRecord, Link
from tests.console import scripted
from tests.console.screen import SIZE, make, screen_text, until
from tests.console.scripted import START, event, layout

ROOT = """\
Traceback (most recent call last):
  File "/home/ada/.motley/code/0123456789abcdef/train.py", line 12, in <module>
    main()
  File "/home/ada/.motley/code/0123456789abcdef/model.py", line 3, in build
    import einops
ModuleNotFoundError: No module named 'einops'"""
PEER = """\
Traceback (most recent call last):
  File "train.py", line 40, in step
    reduce()
RuntimeError: [pair.cc:598] Connection closed by peer [10.0.0.2]:28048"""
AHEAD_S = {"desktop": 0.0, "laptop": -170.0, "box1": 240.0}
TOLD = """\
✖ box1: rank 2 failed: ModuleNotFoundError: No module named 'einops'
  → einops is not installed on box1. On box1: /venv/bin/python -m pip install
    einops; or a line in the file of [environment] requirements, for all hosts.
    A file of your own has to be in the pushed folder ([run] project)
    File "train.py", line 12, in <module>
      main()
    File "model.py", line 3, in build
      import einops
    all of it: motley logs home-1 --rank 2
    0.4 s later: rank 0 on desktop: RuntimeError: [pair.cc:598] Connection clos…
    5.1 s later: rank 1 on laptop ended after it"""


def failed(host: str, member: int, after_s: float, **data: Any) -> FeedRecord:
    data = {"code": 1, "root_cause": True, "member": member, **data}
    return event("rank_failed", "", host=host, time=START + after_s + AHEAD_S[host], level="error", **data)


def records() -> list[FeedRecord]:
    """Ranks of hosts whose clocks differ by minutes, heard in the wrong order."""
    return [
        layout(),
        failed("desktop", 0, 1.4, traceback=PEER),
        failed("laptop", 1, 6.1, code=205, root_cause=False, traceback="leaving: rank 2 has failed"),
        failed("box1", 2, 1.0, traceback=ROOT, python="/venv/bin/python"),
        *(Link(host=host, up=True, text="connected", clock_offset_s=ahead) for host, ahead in AHEAD_S.items()),
    ]


def test_the_first_failure_is_on_top_with_its_remedy_and_last_calls_at_80_columns() -> None:
    store = Store()
    for record in records():
        store.apply(record, START)
    lines = notice_lines(store.snapshot(), width=80)
    assert [text(line).rstrip() for line in lines] == TOLD.splitlines()
    assert max(map(width_of, lines)) <= 80


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    store = Store()
    for record in records():
        store.apply(record, START)
    assert max(map(width_of, notice_lines(store.snapshot(), width=width))) <= width


async def test_the_screen_of_a_run_that_failed_shows_it() -> None:
    app, sessions = make(hold=True, steps=20)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: bool(sessions) and sessions[0].played.is_set())
        for record in records():
            app.life.store.apply(record, START)
        app.life.store.apply(Ended(state="failed", summary=scripted.summary("home-1", "failed", steps=20)), START)
        await until(app, pilot, lambda: "what went wrong" in screen_text(app))
        shown = screen_text(app)
        told = (
            "✖ box1: rank 2 failed: ModuleNotFoundError",
            "→ einops is not installed",
            "import einops",
            "0.4 s later",
        )
        places = [shown.find(part) for part in told]
        assert -1 not in places, shown
        assert places == sorted(places)


def test_plain_lines_end_with_it() -> None:
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START)
    for record in (*records(), Ended(state="failed")):
        printer(record)
    said = [line[24:] for line in lines]
    root = next(n for n, line in enumerate(said) if line.startswith("box1: rank 2 failed: ModuleNotFoundError"))
    assert "/venv/bin/python -m pip install einops" in said[root]
    assert said[root + 1 : root + 3] == ['    File "train.py", line 12, in <module>', "      main()"]
    assert said[root + 5] == "    all of it: motley logs home-1 --rank 2"
    assert said[root + 6].startswith("    0.4 s later: rank 0 on desktop: RuntimeError")
    assert said[root + 7] == "    5.1 s later: rank 1 on laptop ended after it"
    assert said[-1] == "the run failed"


def test_the_command_s_last_word_names_the_cause() -> None:
    cause = "rank 2 on box1 failed: ModuleNotFoundError: No module\nnamed 'einops'"
    outcome = ended(
        "home-1", Ended(state="failed", summary={"run": "home-1", "state": "failed", "cause": cause}), plainly
    )
    assert (outcome.code, outcome.text) == (
        1,
        "home-1 failed: rank 2 on box1 failed: ModuleNotFoundError: No module named 'einops'",
    )
    assert ended("home-1", Ended(state="finished", summary={"cause": "old"}), plainly).text == "home-1 finished"


def test_the_log_of_a_failed_run_ends_with_its_cause_on_stderr(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from motley.console.cli import main

    (tmp_path / "cluster.toml").write_text('[cluster]\nconnect = "demo"\n[[hosts]]\nname = "box1"\n')
    run = tmp_path / "experiments" / "night"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "rank_0.log").write_text("step 1\n")
    summary = {"run": "night", "state": "failed", "cause": "rank 0 on box1 failed: \x1b[31mKeyError: 'lr'\x1b[0m"}
    (run / "summary.json").write_text(json.dumps(summary))
    monkeypatch.setattr(sys, "argv", ["motley", "logs", "night", "-c", str(tmp_path / "cluster.toml")])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert left.value.code == 0
    assert out.split() == ["#0", "step", "1"]
    assert err == "motley: night: rank 0 on box1 failed: KeyError: 'lr'\n"
