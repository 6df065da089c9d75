"""CIFAR's official binary format, on small archives and folders written in it."""

from __future__ import annotations

import dataclasses
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.errors import DataError
from motley.trainer.tasks import cifar
from motley.trainer.tasks.datasets import image_data

SMALL10 = dataclasses.replace(cifar.CIFAR10, train_records=3, test_records=2)
SMALL100 = dataclasses.replace(cifar.CIFAR100, train_records=3, test_records=2)


def record(label: int, *, red: int, coarse: bytes = b"") -> bytes:
    return coarse + bytes([label]) + bytes([red]) * 1024 + bytes([100]) * 1024 + bytes(range(32)) * 32


def small10() -> dict[str, bytes]:
    files = {f"data_batch_{n}.bin": b"".join(record(n, red=10 * n + i) for i in range(3)) for n in range(1, 6)}
    return files | {"test_batch.bin": record(9, red=1) + record(0, red=2)}


def write_archive(path: Path, files: Mapping[str, bytes], folder: str = "cifar-10-batches-bin") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("form", ["archive", "extracted", "files"])
def test_cifar10_is_read_from_the_archive_and_from_folders(tmp_path: Path, form: str) -> None:
    if form == "archive":
        write_archive(tmp_path / "cifar-10-binary.tar.gz", {"readme.html": b"hello", **small10()})
    else:
        write_folder(tmp_path / "cifar-10-batches-bin" if form == "extracted" else tmp_path, small10())
    assert cifar.missing(SMALL10, tmp_path) == ()
    train, test = cifar.read(SMALL10, tmp_path)
    assert train.labels.tolist() == [n for n in range(1, 6) for _ in range(3)]
    assert test.labels.tolist() == [9, 0]
    assert train.images.shape == (15, 3, 32, 32)
    assert train.images[4, 0].flatten().tolist() == [21] * 1024
    assert train.images[4, 1].flatten().tolist() == [100] * 1024
    assert train.images[4, 2, 7].tolist() == list(range(32)), "a row is 32 pixels from left to right"
    assert train.images.dtype == torch.uint8


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    files = {"train.bin": b"".join(record(99 - i, red=i, coarse=b"\x13") for i in range(3))}
    files["test.bin"] = record(5, red=0, coarse=b"\x01") * 2
    write_archive(tmp_path / "cifar-100-binary.tar.gz", files, "cifar-100-binary")
    train, test = cifar.read(SMALL100, tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([99, 98, 97], [5, 5])


def test_nothing_is_written_whatever_the_archive_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    files = {f"cifar-10-batches-bin/{name}": content for name, content in small10().items()}
    write_archive(
        data / "cifar-10-binary.tar.gz",
        {"../../escaped": b"x", "/tmp/../escaped": b"x", "cifar-10-batches-bin/../../escaped": b"x", **files},
        folder="",
    )
    cifar.read(SMALL10, data)
    assert (os.listdir(tmp_path), os.listdir(data)) == (["data"], ["cifar-10-binary.tar.gz"])


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(small10()["test_batch.bin"])
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, {name: content for name, content in small10().items() if name != "test_batch.bin"})
    with tarfile.open(tmp_path / "linked.tar", "w") as linked:
        for name, content in small10().items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            if name == "test_batch.bin":
                member.type, member.linkname = tarfile.SYMTYPE, str(secret)
                linked.addfile(member)
            else:
                member.size = len(content)
                linked.addfile(member, io.BytesIO(content))
    os.replace(tmp_path / "linked.tar", path)
    with pytest.raises(DataError, match=r"expected cifar-10-batches-bin/test_batch\.bin in the archive, found no"):
        cifar.read(SMALL10, tmp_path)


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, small10() | {"data_batch_3.bin": small10()["data_batch_3.bin"][:-1]})
    with pytest.raises(DataError, match=r"data_batch_3\.bin: expected 9219 bytes, found 9218") as caught:
        cifar.read(SMALL10, tmp_path)
    assert "official cifar-10-binary.tar.gz" in caught.value.remedy


def test_an_archive_with_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "cifar-10-binary.tar.gz", small10() | {"test_batch.bin": b"short"})
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz/.*test_batch\.bin: expected 6146 bytes, found 5"):
        cifar.read(SMALL10, tmp_path)


def test_a_label_beyond_the_classes_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, small10() | {"test_batch.bin": record(10, red=0) * 2})
    with pytest.raises(DataError, match=r"test_batch\.bin: expected labels from 0 to 9, found 10"):
        cifar.read(SMALL10, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b\x08\x00 torn"])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path}: damaged archive"):
        cifar.read(SMALL10, tmp_path)


def test_a_torn_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, {name: os.urandom(len(content)) for name, content in small10().items()})
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=rf"{path}: damaged archive"):
        cifar.read(SMALL10, tmp_path)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py"])
def test_the_version_with_pickles_is_named_with_the_one_to_get(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"{name}: expected the binary version.*found the Python version") as caught:
        image_data("cifar10", RunOptions(), DataOptions(path=str(tmp_path)), print)
    assert "cifar-10-binary.tar.gz" in caught.value.remedy


def test_some_extracted_files_are_not_enough(tmp_path: Path) -> None:
    write_folder(tmp_path, {name: content for name, content in small10().items() if name != "data_batch_2.bin"})
    with pytest.raises(DataError, match=r"some files of cifar10 are there, but not data_batch_2\.bin"):
        image_data("cifar10", RunOptions(), DataOptions(path=str(tmp_path)), print)
