"""What pods are given to start a run by themselves: what they stay for, and what they go on from."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.remote.session.placed.pods_start import manifests_of, on_from

HOSTS = '[[hosts]]\nname = "big"\n[[hosts]]\nname = "small"\nnodes = 2\n'
HEAD = f'[cluster]\nconnect = "kubernetes"\nleader = "small"\n{HOSTS}'
VOLUME = '[kubernetes]\nkind = "jobset"\nworkspace = "1Gi"\n'


def read(folder: Path, text: str) -> Cluster:
    (folder / "cluster.toml").write_text(text)
    return load(folder / "cluster.toml")


def test_pods_know_each_other_and_stay_for_a_console(tmp_path: Path) -> None:
    text = manifests_of(read(tmp_path, HEAD + VOLUME), "night", resume=None)()

    assert '"stays_s": 60.0' in text
    assert '"pods": ["night-small-0-0-0.night", "night-small-0-0.night", "night-big-0-0.night"]' in text
    assert '"hosts": ["small-0", "small-1", "big"]' in text


def test_what_a_run_goes_on_from_lies_on_the_volume(tmp_path: Path) -> None:
    cluster = read(tmp_path, HEAD + VOLUME)

    folder = "/workspace/.motley/runs/old"
    assert on_from(cluster, "old") == (folder, "old")
    assert on_from(cluster, "old@best") == (f"{folder}/best.pt", "old")
    assert on_from(cluster, None) == ("", "")


@pytest.mark.parametrize(
    ("text", "resume", "said"),
    [
        (HEAD, "old", r"has no \[kubernetes\] workspace, where checkpoints of earlier runs would be"),
        (HEAD + VOLUME, "here/final.pt", "pods go on from what is on their volume: name a run"),
        (HEAD + VOLUME, "old@step_1200", "pods go on from what is on their volume: name a run"),
    ],
)
def test_what_is_on_no_volume_is_refused(tmp_path: Path, text: str, resume: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        on_from(read(tmp_path, text), resume)
