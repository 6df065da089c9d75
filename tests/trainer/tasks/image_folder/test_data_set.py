"""`image_folder` as a task: what it gives, what it learns, how hosts with other pictures are told apart."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

from motley.trainer.contract.data_fingerprint import DataFingerprint, difference, told
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import MODELS
from motley.trainer.data.loading import Loading
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import DataError
from motley.trainer.tasks import load
from motley.trainer.tasks.image_folder.data_set import FolderPictures
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.vision import ImageTask
from tests.support.pictures import pillow, write_pictures
from tests.trainer.written_out import WrittenOut

THREE = {"train/red": 20, "train/green": 16, "train/blue": 12, "val/red": 4, "val/green": 4, "val/blue": 4}
SIZE = 16


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "photos", THREE)
    return tmp_path / "photos"


def options(model: str = "simple_cnn") -> RunOptions:
    return RunOptions(task=f"{model}/image_folder", norm="group")


def task_of(folder: Path, notes: list[str] | None = None, model: str = "simple_cnn") -> ImageTask:
    kept = notes if notes is not None else []
    data = DataOptions(path=str(folder), image_size=SIZE)
    task = load(options(model), data, lambda text, _: kept.append(text))
    assert isinstance(task, ImageTask)
    return task


def data_of(task: Task, workers: int = 0) -> TaskData:
    return TaskData.of(task, seed=3, loading=Loading(workers=workers))


def test_what_is_there_is_told_and_every_model_has_its_size_and_classes(photos: Path) -> None:
    notes: list[str] = []
    task = task_of(photos, notes)
    assert notes == [
        f"{photos}: 3 classes, 48 pictures to train on, 12 to test on; those in val/ are for testing",
    ]
    data = data_of(task)
    assert (data.train_size, data.test_size) == (48, 12)
    assert notes[1:] == [f"looking at the 60 files in {photos}"]
    pictures, labels = data.train_batch(torch.arange(48), epoch=0).content
    assert (pictures.shape, pictures.dtype) == ((48, 3, SIZE, SIZE), torch.float32)
    assert (labels.tolist(), labels.dtype) == ([0] * 12 + [1] * 16 + [2] * 20, torch.int64)
    assert abs(float(pictures.mean())) < 1
    for model in MODELS:
        assert task_of(photos, model=model).model()(pictures[:2]).shape == (2, 3)


def test_what_goes_with_the_weights_are_the_names_of_the_folders(photos: Path) -> None:
    about = json.loads(json.dumps(task_of(photos).metadata()))
    assert (about["classes"], about["size"], about["channels"]) == (["blue", "green", "red"], SIZE, 3)
    assert about["mean"] == [123.675, 116.28, 103.53]


def test_test_pictures_come_as_they_are_and_training_ones_are_moved_anew_in_each_epoch(photos: Path) -> None:
    data = data_of(task_of(photos))
    first, again, later = (data.train_batch(torch.tensor([5, 40]), epoch).content[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    mean, std = (torch.tensor(part)[:, None, None] for part in (data.task.data.mean, data.task.data.std))  # type: ignore[attr-defined]
    tests = data.task.test_data()
    assert torch.equal(data.test_batch(0, 12).content[0][7], (tests[7][0].float() - mean) / std)


@pytest.mark.ranks
def test_workers_fetch_the_same_to_the_last_bit(photos: Path) -> None:
    alone, helped = data_of(task_of(photos)), data_of(task_of(photos), workers=2)
    try:
        assert helped.pool is not None
        for ids in (torch.tensor([3, 47, 0]), torch.arange(48)):
            one, other = alone.train_batch(ids, epoch=1).content, helped.train_batch(ids, epoch=1).content
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    finally:
        helped.close()


def test_colours_are_learned(photos: Path) -> None:
    task = task_of(photos)
    data, model = WrittenOut(task, seed=3), task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(12):
        inputs, targets = data.train_batch(torch.arange(step % 2, 48, 2), epoch=step)
        optimizer.zero_grad()
        torch.autograd.backward(data.loss_sum(model(inputs), targets) / len(targets))
        optimizer.step()
    images, labels = data.test_batch(0, 12)
    assert int(data.correct(model(images), labels)) >= 11


def sent(folder: Path) -> DataFingerprint:
    return DataFingerprint.of(json.loads(json.dumps(data_of(task_of(folder)).fingerprint().to_table())))


def test_hosts_with_other_pictures_are_told_apart(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pictures(other, THREE)
    mine = sent(photos)
    assert difference(mine, sent(other)) is None
    (other / "train/red/007.jpg").rename(other / "train/red/107.jpg")
    assert difference(mine, sent(other)) == "listing"
    text = told("listing", mine, sent(other))
    assert text.startswith("the names of its 48 files and their classes have the hash ")
    (other / "train/red").rename(other / "train/yellow")
    (other / "val/red").rename(other / "val/yellow")
    assert difference(mine, sent(other)) == "listing"
    (other / "train/blue/000.png").unlink()
    assert difference(mine, sent(other)) == "length"


def test_other_pictures_of_the_same_names_are_told_apart_by_eight_of_them(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pictures(other, THREE)
    for path in (other / "train").glob("*/*"):
        with pillow().open(path) as image:
            turned = image.convert("RGB").rotate(180).point(lambda value: 255 - value)
        turned.save(path)
    assert difference(sent(photos), sent(other)) == "samples"


def test_files_that_are_no_pictures_are_told_before_the_first_step(photos: Path) -> None:
    (photos / "train/blue/notes.txt").write_text("buy milk")
    (photos / "val/red/a.jpg").write_bytes(b"")
    task = task_of(photos)  # who only wants the names of the classes need not look
    with pytest.raises(DataError) as caught:
        data_of(task)
    assert caught.value.cause == (
        f"{photos}/train/blue/notes.txt is no picture that Pillow {pillow().__version__} can read (2 files in all)"
    )
    assert caught.value.remedy == "Take what is no picture out of the folder that [data] names"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_told_by_its_path_by_whoever_draws_it(photos: Path, workers: int) -> None:
    path = photos / "train/blue/003.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    data = data_of(task_of(photos), workers)
    try:
        with pytest.raises(DataError, match=rf"^{path} can't be decoded by Pillow .* [Tt]runcated"):
            data.train_batch(torch.arange(6), epoch=0)
    finally:
        data.close()


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "-packages" not in path])


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_the_remedy_is_a_command_and_the_names_of_the_classes_are_known(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"\xff\xd8\xff")
    task = task_of(tmp_path)
    assert task.metadata()["classes"] == ["cat", "dog"]
    with pytest.raises(DataError) as caught:
        data_of(task)
    assert caught.value.cause == f"{sys.executable} has no Pillow, which decodes the pictures of image_folder"
    assert caught.value.remedy == f"{sys.executable} -m pip install Pillow"


def test_without_a_folder_it_says_which_key_names_one() -> None:
    with pytest.raises(DataError, match=r"no folder is named\. Name it in \[data\]"):
        load(options(), DataOptions(), lambda *_: None)


def test_a_sample_is_a_picture_and_the_number_of_its_class(photos: Path) -> None:
    task = task_of(photos)
    train = task.train_data()
    assert isinstance(train, FolderPictures)
    image, label = train[47]
    assert (image.dtype, image.shape, label) == (torch.uint8, (3, SIZE, SIZE), 2)
    small = load(options(), dataclasses.replace(DataOptions(), path=str(photos), image_size=8), lambda *_: None)
    assert small.train_data()[0][0].shape == (3, 8, 8)
