"""Which trackers a run has, and what is said of one that is not installed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.console.commands.after_run.track import track
from motley.console.commands.run import check_trackers
from motley.console.tracking import tracked_feed, trackers
from motley.remote.config.console_sections.track import TRACKERS, TrackKeys
from motley.remote.config.load import load
from motley.remote.errors import ConfigError, UsageError
from motley.remote.feed import FeedRecord
from tests.console.report.experiments import event, step, write


def test_the_trackers_of_the_file_are_those_that_can_be_written_to() -> None:
    assert tuple(trackers.TRACKERS) == TRACKERS


def test_without_a_word_it_is_tensorboard_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "installed", lambda name: name == "tensorboard")
    assert trackers.chosen(None) == ("tensorboard",)
    assert trackers.chosen(["aim"]) == ("aim",)
    assert trackers.chosen([]) == ()
    monkeypatch.setattr(trackers, "installed", lambda _: False)
    assert trackers.chosen(None) == ()


def test_one_that_is_not_installed_is_an_error_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "installed", lambda _: False)
    file = tmp_path / "cluster.toml"
    file.write_text('[[hosts]]\nname = "box1"\n\n[track]\nwith = ["wandb"]\n')
    text = "wandb is not installed where Motley is: pip install 'motley-cluster[wandb]'"
    with pytest.raises(ConfigError) as caught:
        check_trackers(load(file))
    assert caught.value.problems == (f"cluster.toml:5: track.with: {text}",)
    folder = write(tmp_path / "experiments/night", told={"state": "finished"})
    with pytest.raises(UsageError, match=r"wandb is not installed") as refused:
        track(file, str(folder), ["wandb"], json=False)
    assert str(refused.value) == text


def test_afterwards_a_tracker_has_to_be_known_and_a_run_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "experiments/night")
    with pytest.raises(UsageError, match='--with has "x", which is no tracker'):
        track(tmp_path / "cluster.toml", "night", ["x"], json=False)
    (tmp_path / "cluster.toml").write_text('[[hosts]]\nname = "box1"\n[track]\nwith = []\n')
    with pytest.raises(UsageError, match="no tracker is named"):
        track(tmp_path / "cluster.toml", str(folder), [], json=False)
    with pytest.raises(UsageError, match="there is no such experiment"):
        track(tmp_path / "cluster.toml", "day", ["mlflow"], json=False)


async def test_they_begin_with_the_first_figures_and_records_go_on_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(tracked_feed.PlanTrackers, "_begin", lambda _, names, *__: begun.append(names))
    told: list[FeedRecord] = []
    feed = tracked_feed.PlanTrackers().feed(TrackKeys(with_=("aim",)), tmp_path, "desk", told.append)
    feed(event("started"))
    assert begun == []
    for sample in step(1):
        feed(sample)
    assert begun == [("aim",)]
    assert told == [event("started"), *step(1)]


async def test_what_is_missing_when_coming_back_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trackers, tracked_feed):
        monkeypatch.setattr(module, "installed", lambda _: False)
    told: list[FeedRecord] = []
    plan = tracked_feed.PlanTrackers()
    plan.feed(TrackKeys(with_=("aim",)), tmp_path, "desk", told.append)(step(1)[0])
    await asyncio.sleep(0)
    assert [getattr(record, "level", "") for record in told] == ["", "warning"]
    plan.close(1.0)
