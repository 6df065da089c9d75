"""Folders of the user's in containers, and the variables that say where a cache of models is: from spec to command."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from pathlib import Path

import pytest

from motley.trainer.contract import mount
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import Container, DataOptions, RunOptions, container_of
from motley.trainer.supervisor import containers
from motley.trainer.verbs.export import export
from tests.trainer.supervisor.test_container_commands import mounts, values
from tests.trainer.trained import spec_of, trained

made = tempfile.TemporaryDirectory

BOX = Container(
    runtime="docker", image="mine:1", id="sha256:8f5a",
    mounts=("~/.cache/huggingface", "/srv/models:/models:ro", "~/notes:ro"),
)  # fmt: skip


@pytest.fixture(autouse=True, name="home")
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def asked(container: Container = BOX, **env: str) -> tuple[list[str], dict[str, str]]:
    """What starts a measurement in it, and the environment for that."""
    calibration = Calibration(
        options=RunOptions(), data=DataOptions(), device="cpu", batch=8, container=container, env=env
    )
    return containers.of_calibration(calibration, "trial", Path("/none"), {"PATH": "/bin", **env})


def test_each_folder_is_where_it_is_asked_for_and_written_only_where_it_may(home: Path) -> None:
    rows = {row["target"]: row for row in mounts(asked()[0])}
    cache = str(home / ".cache/huggingface")
    assert rows[cache] == {"type": "bind", "source": cache, "target": cache}
    assert rows["/models"] == {"type": "bind", "source": "/srv/models", "target": "/models", "readonly": ""}
    assert "readonly" in rows[str(home / "notes")]


def test_a_cache_that_is_not_there_yet_is_made_the_user_s_own_and_nothing_else_is(home: Path) -> None:
    asked()
    assert (home / ".cache/huggingface").stat().st_mode & 0o777 == 0o700
    assert not (home / "notes").exists()


def test_an_export_has_the_folders_that_its_run_had_and_writes_on_the_container_s_own_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run = dataclasses.replace(spec_of("night", "box0"), container=BOX, env={"HF_HOME": "/models/hub"})
    folder = trained(home, of_run, {})
    argv, env = containers.of_export(of_run, folder, ["export", "--inside", "--merge"])
    bound = {row["target"]: "readonly" in row for row in mounts(argv)}
    assert (bound[str(home / ".cache/huggingface")], bound["/models"], bound[str(home / "notes")]) == (
        False,
        True,
        True,
    )
    assert bound[str(folder)]
    assert argv[-3:] == ["export", "--inside", "--merge"]
    assert "HF_HOME" in values(argv, "--env")
    assert env["HF_HOME"] == "/models/hub"
    room = home / "verify-8f5a"
    room.mkdir()
    argv, _ = containers.of_export(of_run, folder, ["verify", "--inside"], label=home / "label", room=str(room))
    assert {row["target"]: "readonly" in row for row in mounts(argv)} == {**bound, str(room): True}

    there: list[Path | None] = []

    def noted(*, dir: Path | None, prefix: str) -> tempfile.TemporaryDirectory[str]:  # noqa: A002 - its name there
        there.append(dir)
        return made(dir=dir, prefix=prefix)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", noted)
    for spec in (of_run, dataclasses.replace(of_run, container=None)):
        (folder / "spec.json").write_text(spec.to_json())
        assert export("night", "box0", "pt", "none.pt", inside=True, stdin=io.BytesIO()) == 1
    assert there == [None, home / ".motley"]


def test_where_models_are_kept_and_the_token_for_them_reach_ranks_and_are_in_no_command_line() -> None:
    argv, env = asked(HF_HOME="/models/hub", HF_TOKEN="hf_secret")
    assert {"HF_HOME", "HF_TOKEN"} <= set(values(argv, "--env"))
    assert (env["HF_HOME"], env["HF_TOKEN"]) == ("/models/hub", "hf_secret")
    assert "hf_secret" not in " ".join(argv)


def test_they_come_through_the_spec_and_one_of_an_older_motley_has_none() -> None:
    table = dataclasses.asdict(BOX)
    assert container_of({"container": {**table, "mounts": list(BOX.mounts)}}) == BOX
    del table["mounts"]
    assert container_of({"container": table}) == dataclasses.replace(BOX, mounts=())


@pytest.mark.parametrize(
    ("text", "source", "target", "writable"),
    [
        ("/srv/models", "/srv/models", "/srv/models", True),
        ("/srv//models/", "/srv/models", "/srv/models", True),
        ("/srv/models:ro", "/srv/models", "/srv/models", False),
        ("/srv/models:~/models:rw", "/srv/models", "~/models", True),
        ("~/..a", "~/..a", "~/..a", True),
        ("/etc/models:/models", "/etc/models", "/models", True),
    ],
)
def test_how_a_folder_is_written(text: str, source: str, target: str, writable: bool) -> None:
    assert mount.parse(text) == mount.Folder(source, target, writable)
