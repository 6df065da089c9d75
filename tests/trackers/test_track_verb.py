"""`motley track` with a tracker that is there: a run that has ended, from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motley.console.commands.after_run.track import track
from tests.support.absent import not_here
from tests.trackers.read_back import tensorboard
from tests.trackers.recorded_run import folder_of_run


@pytest.fixture(autouse=True)
def _there() -> None:
    from motley.console.tracking.trackers import installed

    if not installed("tensorboard"):
        not_here("no tensorboard here: `make libraries` installs it")


def test_it_prints_how_the_run_is_looked_at_and_twice_is_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_run(tmp_path)
    config = tmp_path / "cluster.toml"  # there is none, and none is needed
    assert track(config, "night", ["tensorboard"], json=False) == 0
    command = f"tensorboard --logdir {folder.parent}"
    assert capsys.readouterr().out == f"{command}\n"
    before = {path: path.stat().st_size for path in folder.rglob("*.tfevents.*")}
    assert track(config, "night", ["tensorboard", "tensorboard"], json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"trackers": [{"tracker": "tensorboard", "state": "written", "where": command, "cause": ""}]}
    assert {path: path.stat().st_size for path in folder.rglob("*.tfevents.*")} == before
    assert tensorboard(folder).state == "finished"


def test_one_that_can_not_be_written_to_is_told_with_its_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_run(tmp_path)
    (folder / "tensorboard").write_text("in the way")
    assert track(tmp_path / "cluster.toml", "night", ["tensorboard"], json=False) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("motley: tensorboard: ")
    assert str(folder / "tensorboard") in err
