"""The pictures of a folder as a map-style Dataset: decoded when they are drawn, by the rank or by its workers.

>>> data = read(Path("photos"), size=64, note=note)
>>> data.train[0][0].shape, data.names[data.train[0][1]]
(torch.Size([3, 64, 64]), 'cat')
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from torch import Tensor

from motley.trainer.errors import DataError
from motley.trainer.tasks.download import Note
from motley.trainer.tasks.image_folder.class_folders import ClassFolders, Part, look
from motley.trainer.tasks.image_folder.picture import CHANNELS, picture, pillow, problem
from motley.trainer.tasks.images import ImageData

# Of ImageNet, as torchvision has them: no pass over the user's pictures is needed, and every host has the same.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_THREADS = 8  # that look at files: a network's latency is waited for side by side
_CHUNK = 4096


class FolderPictures:
    """Samples are (uint8 [3, size, size], number of the class)."""

    def __init__(self, folder: Path, part: Part, size: int) -> None:
        self._folder = folder
        self._part = part
        self._size = size

    def __len__(self) -> int:
        return len(self._part.files)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return picture(self._folder / self._part.files[number], self._size), self._part.labels[number]

    def listing(self) -> str:
        """The hash of all names and classes: hosts that differ in one of them differ in this."""
        return self._part.hash()


def read(folder: Path, size: int, note: Note) -> ImageData:
    """Reads names; `check` of what it returns looks at the files. Raises DataError for a folder of another kind."""
    found = look(folder)
    train, test = len(found.train.files), len(found.test.files)
    counts = f"{len(found.classes)} classes, {train:,} pictures to train on, {test:,} to test on"
    note(f"{folder}: {counts}; {found.split}", None)
    return ImageData(
        train=FolderPictures(folder, found.train, size),
        test=FolderPictures(folder, found.test, size),
        classes=len(found.classes),
        names=found.classes,
        channels=CHANNELS,
        size=size,
        mean=MEAN,
        std=STD,
        shift=size // 8,
        check=partial(_check, folder, found, note),
    )


def _check(folder: Path, found: ClassFolders, note: Note) -> None:
    """Raises DataError without Pillow, and for files that are no pictures: the first, and how many there are."""
    pillow()
    files = [*found.train.files, *found.test.files]
    wrong: list[str] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(files), _CHUNK):
            note(f"looking at the {len(files):,} files in {folder}", start / len(files))
            chunk = files[start : start + _CHUNK]
            wrong += filter(None, threads.map(lambda file: problem(folder / file), chunk))
    if wrong:
        more = f" ({len(wrong):,} files in all)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}", "Take what is no picture out of the folder that [data] names")
