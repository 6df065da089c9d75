"""What comes from a run's volume lies in its folder, plain files alone; what is cut short is told."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from motley.remote.errors import RunFailed
from motley.remote.session.placed.fetch_volume import NOTHING, PACK, unpack

GOES_ON = """
import os
is_file, stat = os.path.isfile, os.fstat
def isfile(path):
    found = is_file(path)
    if path.endswith("step_1.pt"):
        os.unlink(path)
    return found
def fstat(handle):
    found, path = stat(handle), os.readlink(f"/proc/self/fd/{handle}")
    if path.endswith("grows.log"):
        with open(path, "ab") as file:
            file.write(b"later" * 1000)
    if path.endswith("shrinks.log"):
        os.truncate(path, 100)
    return found
os.path.isfile, os.fstat = isfile, fstat
"""  # a run that trains on: each file is changed just when it was looked at


def packed(home: Path, run: str, before: str = "") -> subprocess.CompletedProcess[bytes]:
    """As in a pod."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", before + PACK, run], env=env, capture_output=True, check=False)


def test_all_attempts_of_a_run_and_its_output_come_but_not_its_token(tmp_path: Path) -> None:
    home, runs = tmp_path / "home", tmp_path / "home/.motley/runs"
    for name in ("night/big/summary.json", "night/big/spec.json", "night/big/checkpoints/final.pt",
                 "night.1/big/checkpoints/epoch_1.pt", "nightly/big/summary.json"):  # fmt: skip
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text(name)
    (home / "night/model").mkdir(parents=True)
    (home / "night/model/weights.bin").write_bytes(b"1" * 5000)

    done = packed(home, "night")
    found = unpack(io.BytesIO(done.stdout), tmp_path / "here")

    assert done.returncode == 0, done.stderr
    files = sorted(str(path.relative_to(found.folder)) for path in found.folder.rglob("*") if path.is_file())
    assert files == [
        "attempt-1/big/checkpoints/epoch_1.pt",
        "big/checkpoints/final.pt",
        "big/summary.json",
        "output/model/weights.bin",
    ]
    assert found.files == 4
    assert (found.folder / "output/model/weights.bin").stat().st_size == 5000


def test_a_run_that_trains_on_meanwhile_is_fetched_as_it_was_when_each_file_was_read(tmp_path: Path) -> None:
    home, big = tmp_path / "home", tmp_path / "home/.motley/runs/night/big"
    (big / "checkpoints").mkdir(parents=True)
    for name in ("step_1.pt", "step_2.pt", ".step_3.pt.17-18.part"):
        (big / "checkpoints" / name).write_bytes(b"state")
    for name in ("grows.log", "shrinks.log"):
        (big / name).write_bytes(b"x" * 3000)

    done = packed(home, "night", GOES_ON)
    found = unpack(io.BytesIO(done.stdout), tmp_path / "here")

    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}
    assert files == {
        "step_2.pt": b"state",
        "grows.log": b"x" * 3000,
        "shrinks.log": b"x" * 100 + bytes(2900),
    }


def test_a_file_with_two_names_comes_under_both(tmp_path: Path) -> None:
    big = tmp_path / "home/.motley/runs/night/big"
    big.mkdir(parents=True)
    (big / "best.pt").write_bytes(b"state")
    os.link(big / "best.pt", big / "epoch_1.pt")

    unpack(io.BytesIO(packed(tmp_path / "home", "night").stdout), tmp_path / "here")

    assert [(tmp_path / "here/big" / name).read_bytes() for name in ("best.pt", "epoch_1.pt")] == [b"state"] * 2


def test_a_run_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / ".motley/runs/nightly").mkdir(parents=True)

    done = packed(tmp_path, "night")

    assert (done.returncode, done.stdout, done.stderr.decode().strip()) == (NOTHING, b"", "nightly")


def test_nothing_comes_to_lie_outside_of_the_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("../outside", "/tmp/absolute-outside", "inside"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    buffer.seek(0)

    found = unpack(buffer, tmp_path / "here")

    assert found.files == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "inside"]
    assert not os.path.exists("/tmp/absolute-outside")


def test_what_is_cut_short_is_told(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("model")
        info.size = 10_000
        tar.addfile(info, io.BytesIO(b"x" * 10_000))

    with pytest.raises(RunFailed, match="was cut short"):
        unpack(io.BytesIO(buffer.getvalue()[:4000]), tmp_path / "here")
