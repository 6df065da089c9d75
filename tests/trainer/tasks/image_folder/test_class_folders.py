"""Which files of a folder are pictures of which class, to train on or to test on; what folders are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motley.trainer.errors import DataError
from motley.trainer.tasks.image_folder.class_folders import ClassFolders, Part, look


def made(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")
    return folder


def numbered(place: str, count: int) -> list[str]:
    return [f"{place}/{number:03}.jpg" for number in range(count)]


def test_train_and_val_are_taken_as_they_are_and_labels_follow_the_names_of_train(tmp_path: Path) -> None:
    made(tmp_path, "train/dog/2.jpg", "train/cat/9.jpg", "train/cat/10.png", "train/emu/1.jpg", "val/dog/7.jpg")
    made(tmp_path, "test/cat/1.jpg", "README.md", "train/labels.csv", "train/cat/.hidden", "train/cat/Thumbs.db")
    found = look(tmp_path)
    assert found == ClassFolders(
        classes=("cat", "dog", "emu"),
        train=Part(
            files=("train/cat/10.png", "train/cat/9.jpg", "train/dog/2.jpg", "train/emu/1.jpg"), labels=(0, 0, 1, 2)
        ),
        test=Part(files=("val/dog/7.jpg",), labels=(1,)),
        split="those in val/ are for testing",
    )


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_other_names_of_test_pictures(tmp_path: Path, name: str) -> None:
    made(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{name}/b/1.jpg")
    assert look(tmp_path).test == Part(files=(f"{name}/b/1.jpg",), labels=(1,))


@pytest.mark.parametrize("within", ["", "train/"])
def test_without_test_pictures_one_of_five_of_each_class_is_held_out_whatever_the_host(
    tmp_path: Path, within: str
) -> None:
    cats, dogs = numbered(f"{within}cat", 23), [*numbered(f"{within}dog", 4), f"{within}emu/1.jpg"]
    found, other = look(made(tmp_path / "one", *cats, *dogs)), look(made(tmp_path / "two", *reversed([*cats, *dogs])))
    assert found == other
    assert found.classes == ("cat", "dog", "emu")
    assert [found.test.labels.count(label) for label in range(3)] == [4, 1, 0]
    assert sorted([*found.train.files, *found.test.files]) == sorted([*cats, *dogs])
    assert found.test.files[:4] != tuple(cats[:4])
    assert "one of 5" in found.split


def test_the_split_is_the_same_in_train_and_above_it_and_most_of_it_stays(tmp_path: Path) -> None:
    names = numbered("cat", 50), numbered("dog", 50)
    above = look(made(tmp_path / "one", *names[0], *names[1]))
    below = look(made(tmp_path / "two", *(f"train/{name}" for part in names for name in part)))
    assert [f"train/{file}" for file in above.test.files] == list(below.test.files)
    more = look(made(tmp_path / "one", *numbered("cat", 55)))
    assert len(set(above.test.files) - set(more.test.files)) <= 2


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    made(tmp_path, "train/1.jpg", "plane/1.jpg", "test/1.jpg")
    assert look(tmp_path).classes == ("plane", "test", "train")


def test_the_hash_is_of_names_and_of_classes() -> None:
    part = Part(files=("a/1", "b/1"), labels=(0, 1))
    others = [
        Part(files=("a/1", "b/2"), labels=(0, 1)), Part(files=("a/1", "b/1"), labels=(0, 2)),
        Part(files=("b/1", "a/1"), labels=(1, 0)),
    ]  # fmt: skip
    assert len({part.hash(), *(other.hash() for other in others)}) == 4
    assert part.hash() == Part(files=("a/1", "b/1"), labels=(0, 1)).hash()


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    try:
        made(tmp_path, "a/1.jpg", "b/1.jpg", os.fsdecode(b"b/\xe9.jpg"))
    except OSError:
        pytest.skip("the file system here takes no such name")
    assert len(look(tmp_path).train.hash()) == 64


@pytest.mark.parametrize(
    ("files", "cause", "remedy"),
    [
        ([], "{folder} has no folders of pictures", "FOLDER/CLASS/PICTURES"),
        (["1.jpg", "2.jpg"], "{folder} has no folders of pictures", "FOLDER/CLASS/PICTURES"),
        (["cat/1.jpg"], "{folder} has pictures of one class, cat: there is nothing to learn", "FOLDER/CLASS"),
        (["train/cat/1.jpg", "val/cat/1.jpg"], "{folder}/train has pictures of one class, cat", "FOLDER/CLASS"),
        (["cat/1.jpg", "dog/.hidden"], "{folder}/dog has no pictures", "take the folder away"),
        (["train/cat/1.jpg", "train/dog/1.jpg", "val/.x"], "{folder}/val has no folders of pictures", "FOLDER/CLASS"),
        (
            ["train/cat/1.jpg", "train/dog/1.jpg", "val/emu/1.jpg"],
            "{folder}/val/emu is of a class that train/ does not have",
            "Add {folder}/train/emu, or take it away",
        ),
        (
            ["flowers/daisy/1.jpg", "flowers/rose/1.jpg"],
            "{folder}/flowers/daisy is a folder within that of the class flowers",
            "correct [data] path",
        ),
        (
            ["val/cat/1.jpg", "val/dog/1.jpg"],
            "{folder}/val/cat is a folder within that of the class val",
            "with FOLDER",
        ),
    ],
)
def test_what_is_no_folder_of_classes_is_told_with_its_path_and_what_mends_it(
    tmp_path: Path, files: list[str], cause: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        look(made(tmp_path, *files))
    assert caught.value.cause.startswith(cause.format(folder=tmp_path))
    assert remedy.format(folder=tmp_path) in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_or_is_a_file(tmp_path: Path) -> None:
    for name, cause in (("none", "No such file or directory"), ("file", "Not a directory")):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=rf"^{tmp_path}/{name}: {cause}\. Correct path under \[data\]"):
            look(tmp_path / name)
