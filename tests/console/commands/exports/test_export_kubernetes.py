"""`motley export kubernetes` as a user calls it."""

from __future__ import annotations

import errno
import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from motley.console.cli import app
from motley.console.commands.exports.kubernetes import new_label
from motley.remote.config.load import load

TOML = '[cluster]\nname = "My cards"\n\n[[hosts]]\nname = "gpu"\ngpus = 1\nnodes = 2\n'


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.toml").write_text(TOML.replace("My cards", "cards"))
    return tmp_path


def test_the_manifests_go_to_stdout_and_what_may_surprise_to_stderr(cluster: Path) -> None:
    done = CliRunner().invoke(app, ["export", "kubernetes", "--kind", "jobset", "--name", "night"])
    assert done.exit_code == 0, done.stderr
    assert [table["kind"] for table in yaml.safe_load_all(done.stdout)] == ["Secret", "ConfigMap", "JobSet"]
    assert "no [kubernetes] image" in done.stderr
    assert not list(cluster.glob("*.yaml"))


def test_a_file_is_for_the_user_alone_and_never_written_over_unasked(cluster: Path) -> None:
    words = ["export", "kubernetes", "night.yaml", "--name", "night", "--set", "run.steps=7"]
    done = CliRunner().invoke(app, words)
    file = cluster / "night.yaml"
    assert (done.exit_code, done.stdout) == (0, "night.yaml\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert '"steps": 7' in file.read_text()
    before = file.read_text()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert file.read_text() == before
    again = CliRunner().invoke(app, [*words, "--force"])
    assert (again.exit_code, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert "kubectl apply --server-side -f night.yaml starts it" in again.stderr
    assert file.read_text() != before  # another token


def test_a_disk_that_refuses_leaves_the_old_file_and_the_command_is_quoted(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", "kubernetes", "my night.yaml", "--name", "night"]
    assert "-f 'my night.yaml' starts it" in CliRunner().invoke(app, words).stderr
    before = (cluster / "my night.yaml").read_text()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = CliRunner().invoke(app, [*words, "--force"])
    assert done.exit_code == 2
    assert "my night.yaml can't be written: No space left on device" in done.stderr
    assert (cluster / "my night.yaml").read_text() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kubernetes", "--best"], "--best is for the weights of a run"),
        (["kubernetes", "--name", "kubernetes"], "is that of an engine"),
        (["kubernetes", "--name", "Night"], "is no name for Kubernetes, which takes small letters"),
        (["kubernetes", "no/such/folder/x.yaml", "--name", "night"], "can't be written"),
        (["night"], "motley export RUN FILE"),
        (["night", "night.pt", "--kind", "jobset"], "--kind is for `motley export kubernetes`"),
    ],
)
def test_what_does_not_go_together_is_told(words: list[str], told: str, cluster: Path) -> None:  # noqa: ARG001
    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == 2
    assert told in done.stderr


def test_the_name_of_a_run_is_one_of_kubernetes(tmp_path: Path) -> None:
    for name, begin in (("My.Models", "my-models"), ("4-cards", "run-4-cards"), ("n" * 60, "n" * 24)):
        file = tmp_path / "cluster.toml"
        file.write_text(TOML.replace("My cards", name))
        cluster = load(file, verb="export kubernetes")
        assert new_label(cluster, datetime(2026, 11, 21, 3, 45, tzinfo=timezone.utc)) == f"{begin}-1121-0345"
