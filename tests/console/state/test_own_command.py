"""Commands that the user is told to paste do what they say, wherever cluster.toml is and whatever a run is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.console.commands.run import attach_plan, run_plan
from motley.console.control.session_protocol import ended, half_stopped, left
from motley.console.state.own_command import own_commands, plainly
from motley.console.state.store import Store
from motley.remote.feed import Ended
from tests.console import scripted
from tests.console.scripted import START, event


def test_a_file_elsewhere_is_named_and_what_needs_it_is_quoted() -> None:
    assert own_commands(Path("cluster.toml"))("stop", "night") == "motley stop night"
    assert own_commands(Path("my home/cluster.toml"))("stop", "night") == "motley stop night -c 'my home/cluster.toml'"
    assert plainly("stop", "a b") == "motley stop 'a b'"


def test_the_words_at_the_end_of_a_console_name_the_file() -> None:
    paste = own_commands(Path("home.toml"))
    told = (left("night", paste), half_stopped("night", paste))
    assert told[0].text.endswith("motley attach night -c home.toml")
    assert "motley status -c home.toml tells what is left" in told[1].text
    silent = Ended(state="stopped", unanswered=("box1",))
    assert ended("night", silent, paste).text.endswith("motley stop night -c home.toml")


def test_the_remedies_on_the_screen_name_the_file() -> None:
    store = Store(paste=own_commands(Path("home.toml")))
    store.apply(scripted.layout(), START)
    store.apply(event("rank_failed", "rank 1 failed: exit code 9", host="laptop", member=1), START)
    store.apply(Ended(state="stopped", unanswered=("box1",)), START)
    failed, silent = store.snapshot().problems
    assert "motley logs home-1 --rank 1 -c home.toml" in f"{failed.remedy} {failed.more}"
    assert silent.remedy == "When it is back: motley stop home-1 -c home.toml"


def test_a_console_names_the_file_that_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cluster.toml", "other.toml"):
        (tmp_path / name).write_text('[[hosts]]\nname = "box1"\n[run]\ntask = "mlp/digits"\n')
    for plan_of in (run_plan, lambda config: attach_plan(config, "night")):
        assert plan_of(Path("cluster.toml")).paste("attach", "night") == "motley attach night"
        assert plan_of(Path("other.toml")).paste("attach", "night") == "motley attach night -c other.toml"
