"""Checkpoints: whole or not there at all, proved unchanged, and read without running what is in them."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.errors import CheckpointDamaged, CheckpointError, CheckpointMissing
from motley.trainer.training import checkpoint


def state(step: int = 18, **more: Any) -> dict[str, Any]:
    model = torch.nn.Linear(300, 40)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 300)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "epoch": 3,
        "seed": 0,
        "global_batch": 256,
        "task": "simple_cnn/digits",
        "rng": torch.get_rng_state(),
        "shares": (128, 64, 32, 32),
        "accuracy": None,
        **more,
    }


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing more fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    before = state()
    saved = checkpoint.save(tmp_path / "checkpoints" / "epoch_3.pt", before)
    after = checkpoint.load(saved.path)
    assert after.keys() == before.keys() | {"format"}
    for plain in ("step", "epoch", "seed", "global_batch", "task", "shares", "accuracy"):
        assert after[plain] == before[plain]
    assert all(torch.equal(after["model"][name], value) for name, value in before["model"].items())
    momentum = before["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(after["optimizer"]["state"][0]["momentum_buffer"], momentum)
    assert torch.equal(after["rng"], before["rng"])


def test_the_figures_are_those_of_the_whole_file_so_that_a_copy_can_be_compared(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path / "final.pt", state())
    content = saved.path.read_bytes()
    assert saved.bytes == len(content)
    assert saved.sha256 == hashlib.sha256(content).hexdigest()
    assert os.listdir(tmp_path) == ["final.pt"]


def test_plain_torch_load_reads_a_checkpoint(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path / "final.pt", state())
    assert torch.load(saved.path, weights_only=True)["step"] == 18


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "stop.pt"
    checkpoint.save(path, state(step=1))
    with room_for(50_000), pytest.raises(CheckpointError) as caught:
        checkpoint.save(path, state(step=2))
    assert str(path) in str(caught.value)
    assert "File too large" in str(caught.value)
    assert f"MiB are free in {tmp_path}" in caught.value.remedy
    assert checkpoint.load(path)["step"] == 1
    assert os.listdir(tmp_path) == ["stop.pt"]


def test_a_reader_of_the_old_checkpoint_never_sees_half_of_the_new(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "stop.pt", state(step=1)).path
    before = path.read_bytes()
    with path.open("rb") as reader:
        checkpoint.save(path, state(step=2))
        assert reader.read() == before
    assert checkpoint.load(path)["step"] == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"checkpoints/final\.pt: can't be written") as caught:
        checkpoint.save(tmp_path / "checkpoints" / "final.pt", state())
    assert "a folder this user can write to" in caught.value.remedy


def test_a_state_that_no_one_could_go_on_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs epoch, seed, global_batch, task"):
        checkpoint.save(tmp_path / "final.pt", {"model": {}, "optimizer": {}, "step": 1})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("at", [0, 1000, 50_000, -2000, -200, -100, -70, -30])
def test_one_changed_byte_anywhere_is_found(tmp_path: Path, at: int) -> None:
    path = checkpoint.save(tmp_path / "epoch_1.pt", state()).path
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointDamaged, match=r"epoch_1\.pt: (changed|cut short)"):
        checkpoint.load(path)


@pytest.mark.parametrize("size", [0, 1, 100, 60_000])
def test_a_cut_file_is_found(tmp_path: Path, size: int) -> None:
    path = checkpoint.save(tmp_path / "epoch_1.pt", state()).path
    os.truncate(path, size)
    with pytest.raises(CheckpointDamaged, match=rf"epoch_1\.pt: cut short.*{size} bytes"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"epoch_9\.pt: no such checkpoint"):
        checkpoint.load(tmp_path / "epoch_9.pt")


class Trap:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_loading_runs_no_code_of_the_file(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path / "epoch_1.pt", state(extra=Trap(tmp_path / "trapped")))
    with pytest.raises(CheckpointDamaged, match="not only tensors and plain values"):
        checkpoint.load(saved.path)
    assert not (tmp_path / "trapped").exists()


def test_another_format_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "FORMAT", 2)
        saved = checkpoint.save(tmp_path / "epoch_1.pt", state())
    with pytest.raises(CheckpointError, match="expected a checkpoint of format 1, found 2"):
        checkpoint.load(saved.path)


def test_newest_goes_by_the_step_and_skips_the_damaged_with_a_reason(tmp_path: Path) -> None:
    for name, step in (("epoch_2.pt", 12), ("stop.pt", 15), ("epoch_10.pt", 60), ("epoch_9.pt", 54)):
        checkpoint.save(tmp_path / name, state(step=step))
    os.utime(tmp_path / "epoch_2.pt")  # the newest on the clock
    os.truncate(tmp_path / "epoch_10.pt", 5000)
    (tmp_path / ".epoch_11.pt.77.part").write_bytes(b"half")
    skipped: list[CheckpointError] = []
    assert [path.name for path in checkpoint.newest(tmp_path, skipped.append)] == [
        "epoch_9.pt",
        "stop.pt",
        "epoch_2.pt",
    ]
    assert [str(error).partition(":")[0] for error in skipped] == [str(tmp_path / "epoch_10.pt")]
    with pytest.warns(UserWarning, match=r"epoch_10\.pt: cut short"):
        checkpoint.newest(tmp_path)


def test_newest_of_a_folder_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "checkpoints") == []


def test_prune_keeps_the_latest_epochs_and_every_other_file(tmp_path: Path) -> None:
    for name in (*(f"epoch_{n}.pt" for n in (1, 2, 9, 10)), "stop.pt", "final.pt", ".epoch_3.pt.77.part"):
        (tmp_path / name).touch()
    removed = checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name for path in removed) == [".epoch_3.pt.77.part", "epoch_1.pt", "epoch_2.pt"]
    assert sorted(os.listdir(tmp_path)) == ["epoch_10.pt", "epoch_9.pt", "final.pt", "stop.pt"]
    assert checkpoint.prune(tmp_path, keep=2) == []


WRITER = """
import os, sys
from pathlib import Path
from motley.trainer.training.checkpoint_files import writing

path = Path(sys.argv[1])
with writing(path) as file:
    file.write(b"whole")
    print("begun", flush=True)
    sys.stdin.readline()
    os.replace(file.name, path)
"""


@contextmanager
def another_rank(path: Path) -> Iterator[subprocess.Popen[str]]:
    """It is in the middle of writing a checkpoint, and waits for a line."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_another_rank_of_the_host_is_writing_is_left_to_it(tmp_path: Path) -> None:
    with another_rank(tmp_path / "held.pt") as process:
        assert checkpoint.prune(tmp_path, keep=2) == []
        process.communicate("go on\n")
    assert (tmp_path / "held.pt").read_bytes() == b"whole"


def test_what_a_killed_rank_was_writing_is_removed(tmp_path: Path) -> None:
    with another_rank(tmp_path / "held.pt") as process:
        process.kill()
        process.wait()
    assert len(checkpoint.prune(tmp_path, keep=2)) == 1
    assert os.listdir(tmp_path) == []


def hold(path: Path, step: int, line: int = 0) -> bool:
    """Whether it was put there."""
    return checkpoint.save_unless_later(path, state(step), line=line, alive=lambda: None) is not None


def test_of_two_ranks_that_hold_on_one_host_the_later_step_stays(tmp_path: Path) -> None:
    path = tmp_path / "held.pt"
    assert hold(path, 412)
    assert not hold(path, 411)
    assert checkpoint.load(path)["step"] == 412
    assert hold(path, 412)
    assert hold(path, 413)
    assert checkpoint.load(path)["step"] == 413


def test_what_was_given_up_or_is_damaged_makes_room_for_an_earlier_step(tmp_path: Path) -> None:
    path = tmp_path / "held.pt"
    hold(path, 700)
    assert hold(path, 650, line=1)  # the half that made 700 was given up
    assert not hold(path, 700)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"?")
    assert hold(path, 600)
    assert checkpoint.load(path)["step"] == 600


def test_a_step_that_a_given_up_half_made_is_not_the_newest(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "epoch_7.pt", state(700))
    checkpoint.save(tmp_path / "held.pt", state(650), line=1)
    assert [path.name for path in checkpoint.newest(tmp_path)] == ["held.pt", "epoch_7.pt"]


def test_a_checkpoint_without_a_line_is_read_as_before(tmp_path: Path) -> None:
    content = b"motley checkpoint step=000000000018 sha256="
    (tmp_path / "old.pt").write_bytes(content + hashlib.sha256(content).hexdigest().encode() + b"\n")
    assert [path.name for path in checkpoint.newest(tmp_path)] == ["old.pt"]


def test_whoever_waits_hears_that_a_large_checkpoint_gets_on(tmp_path: Path) -> None:
    heard: list[None] = []
    checkpoint.save(tmp_path / "final.pt", state(more=torch.zeros(5, 1 << 20)), alive=lambda: heard.append(None))
    assert len(heard) >= 5  # 20 MiB in pieces of 4


def test_whoever_waits_hears_too_while_it_is_read_back_for_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "Watched", lambda file, _alive: file)  # not while it is written
    heard: list[None] = []
    checkpoint.save(tmp_path / "final.pt", state(more=torch.zeros(5, 1 << 20)), alive=lambda: heard.append(None))
    assert len(heard) >= 5
