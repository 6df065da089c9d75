"""Which pictures a folder holds, of which classes, and which of them are for testing. Reads names only; no torch.

    photos/train/cat/1.jpg      photos/val/cat/7.jpg        with test pictures: in val, valid, validation or test
    photos/cat/1.jpg            photos/dog/2.jpg            without: one of five, by its name

>>> found = look(Path("photos"))
>>> found.classes, found.train.files[0], found.train.labels[0]
(('cat', 'dog'), 'train/cat/1.jpg', 0)

Two hosts with the same names find the same in the same order, whatever order their file systems list them in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motley.trainer.errors import DataError

TRAIN = "train"
HELD_OUT = ("val", "valid", "validation", "test")  # the first that is there
EVERY = 5  # of the pictures of a class, where none are held out: one of so many
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # what systems put beside pictures; so are hidden files
_LAYOUT = "Motley wants FOLDER/CLASS/PICTURES, or FOLDER/train/CLASS/PICTURES with FOLDER/val beside it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Numbered pictures: paths from the folder, with / between their parts, and the number of each one's class."""

    files: tuple[str, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, classes: Sequence[str], files: Mapping[str, Iterable[str]]) -> Part:
        """`files`: those of each class, which may be one that has none here."""
        pairs = [(file, label) for label, name in enumerate(classes) for file in files.get(name, ())]
        return cls(files=tuple(file for file, _ in pairs), labels=tuple(label for _, label in pairs))

    def hash(self) -> str:
        """Of all names and labels, in order: 64 hex digits."""
        found = hashlib.sha256()
        for file, label in zip(self.files, self.labels):
            found.update(os.fsencode(f"{label} {file}\0"))
        return found.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFolders:
    """`classes` in the order of their labels, which is that of their names."""

    classes: tuple[str, ...]
    train: Part
    test: Part
    split: str  # in words: what the test pictures are


def look(folder: Path) -> ClassFolders:
    """Raises DataError for a folder that is not there, or holds something else than classes of pictures."""
    top = _listed(folder)[0]
    if TRAIN not in top or not _listed(folder / TRAIN)[0]:  # a class may be called train, too
        return _found(folder, *_divided(_classes(folder, "")), f"one of {EVERY} of each class, by name, is for testing")
    train, place = _classes(folder, f"{TRAIN}/"), folder / TRAIN
    name = next((name for name in HELD_OUT if name in top), "")
    if not name:
        return _found(place, *_divided(train), f"one of {EVERY} of each class in train/, by name, is for testing")
    test = _classes(folder, f"{name}/")
    if strange := sorted(set(test) - set(train)):
        remedy = f"Add {place / strange[0]}, or take it away"
        raise DataError(f"{folder / name / strange[0]} is of a class that train/ does not have", remedy)
    return _found(place, train, test, f"those in {name}/ are for testing")


def _found(
    place: Path, train: Mapping[str, Sequence[str]], test: Mapping[str, Iterable[str]], split: str
) -> ClassFolders:
    if len(train) == 1:
        raise DataError(f"{place} has pictures of one class, {next(iter(train))}: there is nothing to learn", _LAYOUT)
    classes = tuple(train)
    return ClassFolders(classes=classes, train=Part.of(classes, train), test=Part.of(classes, test), split=split)


def _classes(folder: Path, within: str) -> dict[str, list[str]]:
    """The pictures of each class, by paths from `folder`; `within` is a part of these: "train/"."""
    place = folder / within
    found = {}
    for name in _listed(place)[0]:
        folders, files = _listed(place / name)
        if folders:
            what = f"{place / name / folders[0]} is a folder within that of the class {name}"
            raise DataError(what, f"Move its pictures, or correct [data] path. {_LAYOUT}")
        if not files:
            raise DataError(f"{place / name} has no pictures", "Put some there, or take the folder away")
        found[name] = [f"{within}{name}/{file}" for file in files]
    if not found:
        raise DataError(f"{place} has no folders of pictures", _LAYOUT)
    return found


def _divided(files: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """To train on, and to test on: of each class those whose names have the least hashes, so that what is added later
    moves few others. At least one; none of a single one."""
    test = {name: set(sorted(those, key=_hash)[: _held_out(len(those))]) for name, those in files.items()}
    return (
        {name: [file for file in those if file not in test[name]] for name, those in files.items()},
        {name: [file for file in those if file in test[name]] for name, those in files.items()},
    )


def _held_out(count: int) -> int:
    return max(1, count // EVERY) if count > 1 else 0


def _hash(file: str) -> bytes:
    return hashlib.sha256(os.fsencode(file.removeprefix(f"{TRAIN}/"))).digest()


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """The names of its folders and of its files, sorted. Raises DataError when it can't be read."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in _IGNORED:
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        remedy = "Correct path under [data] in cluster.toml, or have every host get the folder: push in place of path"
        raise DataError(f"{folder}: {error.strerror or error}", remedy) from error
    return sorted(folders), sorted(files)
