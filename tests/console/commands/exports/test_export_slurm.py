"""`motley export slurm FILE`, and the example that it is tried on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from motley.console.commands.exports.slurm import export_slurm
from motley.remote.config.load import load
from motley.remote.errors import NotWritten, UsageError

EXAMPLE = Path(__file__).resolve().parents[4] / "examples/slurm/cluster.toml"


def test_the_script_is_written_and_its_next_step_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.sh"

    assert export_slurm(load(EXAMPLE), file, force=False) == 0

    text = file.read_text()
    assert "#SBATCH --job-name=motley-two-classes\n" in text
    assert "#SBATCH --partition=old-gpu\n" in text.partition("#SBATCH hetjob")[2]
    told = capsys.readouterr()
    assert told.out == f"{file}\n"
    assert f"submit it with sbatch {file}, then motley run --name two-classes -c {EXAMPLE} starts" in told.err


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("mine")

    with pytest.raises(UsageError, match="is there already: --force writes over it"):
        export_slurm(load(EXAMPLE), file, force=False)
    assert file.read_text() == "mine"
    assert export_slurm(load(EXAMPLE), file, force=True) == 0
    assert file.read_text() != "mine"
    with pytest.raises(NotWritten, match="can't be written"):
        export_slurm(load(EXAMPLE), tmp_path / "none" / "job.sh", force=False)


def test_a_file_is_whole_or_as_it_was_and_its_command_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my job.sh"
    assert export_slurm(load(EXAMPLE), file, force=False) == 0
    assert f"submit it with sbatch '{file}', then" in capsys.readouterr().err
    file.write_text("mine")

    def cut(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", cut)
    with pytest.raises(NotWritten, match="No space left on device"):
        export_slurm(load(EXAMPLE), file, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["my job.sh"]
    assert file.read_text() == "mine"


def test_a_cluster_of_another_kind_has_none(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[[hosts]]\nname = "box1"\n')

    with pytest.raises(UsageError, match='connect = "slurm"'):
        export_slurm(load(path), tmp_path / "job.sh", force=False)
