"""`[track]`: which trackers, and what is wrong with their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError


def written(tmp_path: Path, lines: str) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text(f'[[hosts]]\nname = "box1"\n[track]\n{lines}\n')
    return file


def test_what_is_said_is_kept_and_nothing_is_not_an_empty_list(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'with = ["wandb", "aim"]')).track.with_ == ("wandb", "aim")
    assert load(written(tmp_path, "with = []")).track.with_ == ()
    assert load(written(tmp_path, "")).track.with_ is None
    assert load(written(tmp_path, ""), ['track.with=["mlflow"]']).track.with_ == ("mlflow",)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('with = ["wandbb"]', 'track.with: has "wandbb", which is no tracker that Motley knows; did you mean wandb?'),
        ('with = ["x"]', "track.with: has \"x\", which is no tracker that Motley knows; there are tensorboard, wandb, "
         "mlflow, trackio, aim"),
        ('with = ["aim", "aim"]', "track.with: names aim twice"),
        ('with = [3]', 'track.with.#1: must be text, is 3; write it in quotes: "3"'),
        ('with = "wandb"', 'track.with: must be a list of text, is "wandb"'),
        ('with_ = ["wandb"]', "track.with_: is unknown; did you mean with?"),
        ('project = "a/b"', 'track.project: "a/b" holds "/"; use letters, digits and . _ -'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, lines: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, lines))
    assert caught.value.problems == (f"cluster.toml:4: {problem}",)
