"""CIFAR-10 and CIFAR-100 in their official binary version, from the archive as it is or from an extracted folder.

`trainer.tasks.datasets` reads them. A record is one or two label bytes and 3,072 bytes of picture: red, green, blue,
each 32 rows of 32. No pickle is read, and nothing is written: members are read straight from the archive, by name.

    >>> train, test = read(CIFAR10, Path("/data/cifar-10-binary.tar.gz"))
    >>> train.images.shape
    torch.Size([50000, 3, 32, 32])
"""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

from motley.trainer.errors import DataError
from motley.trainer.tasks.download import Archive
from motley.trainer.tasks.images import ImageSet

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the official archive of one of the two holds. The label that counts is the last label byte of a record."""

    archive: Archive
    folder: str  # in the archive
    python: tuple[str, ...]  # folder and archive of the version with pickles, to tell the user
    train: tuple[str, ...]
    test: tuple[str, ...]
    train_records: int  # of a file
    test_records: int
    label_bytes: int
    classes: int

    def size(self, file: str) -> int:
        """Bytes of one of the files."""
        records = self.train_records if file in self.train else self.test_records
        return records * (self.label_bytes + _PIXELS)


CIFAR10 = Layout(
    archive=Archive(
        name="cifar-10-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
    folder="cifar-10-batches-bin",
    python=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    train=tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    test=("test_batch.bin",),
    train_records=10_000,
    test_records=10_000,
    label_bytes=1,
    classes=10,
)

CIFAR100 = Layout(
    archive=Archive(
        name="cifar-100-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
    ),
    folder="cifar-100-binary",
    python=("cifar-100-python", "cifar-100-python.tar.gz"),
    train=("train.bin",),
    test=("test.bin",),
    train_records=50_000,
    test_records=10_000,
    label_bytes=2,
    classes=100,
)


def _inner(layout: Layout, folder: Path) -> Path:
    """Where the .bin files would be: the folder as extracted, else the named folder itself."""
    inner = folder / layout.folder
    return inner if inner.is_dir() else folder


def missing(layout: Layout, folder: Path) -> tuple[str, ...]:
    """What a folder lacks to be read: nothing when it holds the archive or all extracted files."""
    if (folder / layout.archive.name).is_file():
        return ()
    inner = _inner(layout, folder)
    return tuple(file for file in layout.train + layout.test if not (inner / file).is_file())


def some(layout: Layout, folder: Path) -> bool:
    """Whether a folder holds any of it. Raises DataError for the version with pickles."""
    for name in layout.python:
        if (folder / name).exists():
            raise DataError(
                f"{folder / name}: expected the binary version ({layout.archive.name}), found the Python version",
                f"Put {layout.archive.url} there: pickles run code, so they are not read",
            )
    return len(missing(layout, folder)) < len(layout.train + layout.test)


def read(layout: Layout, folder: Path) -> tuple[ImageSet, ImageSet]:
    """The pictures to train on and to test on. Raises DataError for files in another format or of another size."""
    archive = folder / layout.archive.name
    try:
        contents = _from_archive(layout, archive) if archive.is_file() else _from_folder(layout, folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged archive ({error})", _remedy(layout)) from error
    except OSError as error:
        raise DataError(f"{folder}: can't be read ({error.strerror or error})", _remedy(layout)) from error
    train = [_records(layout, folder / file, contents[file]) for file in layout.train]
    test = [_records(layout, folder / file, contents[file]) for file in layout.test]
    return _joined(train), _joined(test)


def _remedy(layout: Layout) -> str:
    return f"Replace it with the official {layout.archive.name}, or remove it"


def _from_folder(layout: Layout, folder: Path) -> dict[str, bytearray]:
    contents = {}
    for file in layout.train + layout.test:
        path = _inner(layout, folder) / file
        _check_size(layout, path, file, path.stat().st_size)
        contents[file] = bytearray(path.read_bytes())
    return contents


def _from_archive(layout: Layout, path: Path) -> dict[str, bytearray]:
    wanted = {f"{layout.folder}/{file}": file for file in layout.train + layout.test}
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = wanted.get(member.name)
            content = archive.extractfile(member) if file and member.isfile() else None
            if file and content:
                _check_size(layout, path / member.name, file, member.size)
                contents[file] = bytearray(content.read())
    lacking = [name for name, file in wanted.items() if file not in contents]
    if lacking:
        raise DataError(f"{path}: expected {', '.join(lacking)} in the archive, found no such file", _remedy(layout))
    return contents


def _check_size(layout: Layout, path: Path, file: str, size: int) -> None:
    if size != layout.size(file):
        raise DataError(f"{path}: expected {layout.size(file)} bytes, found {size}", _remedy(layout))


def _records(layout: Layout, path: Path, content: bytearray) -> ImageSet:
    records = torch.frombuffer(content, dtype=torch.uint8).reshape(-1, layout.label_bytes + _PIXELS)
    labels = records[:, layout.label_bytes - 1].long()
    if int(labels.max()) >= layout.classes:
        cause = f"{path}: expected labels from 0 to {layout.classes - 1}, found {int(labels.max())}"
        raise DataError(cause, _remedy(layout))
    return ImageSet(records[:, layout.label_bytes :].reshape(-1, 3, 32, 32), labels)


def _joined(parts: list[ImageSet]) -> ImageSet:
    return ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
