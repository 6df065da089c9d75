"""The IDX format, and Fashion-MNIST and digits in it: right files are read, wrong ones are named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.errors import DataError
from motley.trainer.tasks import idx, load
from motley.trainer.tasks.datasets import image_data
from motley.trainer.tasks.images import ImageSet
from tests.trainer.written_out import WrittenOut

HEAD = struct.pack(">4B2I", 0, 0, 8, 2, 2, 3)
PACKED = gzip.compress(HEAD + bytes(6), mtime=0)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_read_plain_or_compressed_whatever_its_name(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "some-file"
    content = HEAD + bytes([1, 2, 3, 4, 5, 255])
    path.write_bytes(gzip.compress(content) if packed else content)
    assert torch.equal(idx.read(path, (2, 3)), torch.tensor([[1, 2, 3], [4, 5, 255]], dtype=torch.uint8))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "expected an IDX file of bytes (it starts 00 00 08), found ''"),
        (b"PK\x03\x04 a zip archive", "found '50 4b 03 04'"),
        (struct.pack(">4BI", 0, 0, 13, 1, 6) + bytes(24), "found '00 00 0d 01'"),
        (HEAD[:7], "ends within its header"),
        (struct.pack(">4B2I", 0, 0, 8, 2, 3, 2) + bytes(6), "expected 2 x 3 values, found 3 x 2"),
        (struct.pack(">4B1I", 0, 0, 8, 1, 6) + bytes(6), "expected 2 x 3 values, found 6"),
        (HEAD + bytes(5), "its header promises 6 bytes, found only 5"),
        (HEAD + bytes(7), "its header promises 6 bytes, found more"),
        (PACKED[:-9], "damaged gzip file"),
        (PACKED[:-8] + bytes(8), "damaged gzip file"),
        (PACKED[:10] + b"\xff" * 20, "damaged gzip file"),
    ],
)
def test_a_file_in_another_format_is_named_with_what_was_found(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read(path, (2, 3))
    assert str(caught.value).startswith(f"{path}: ")
    assert cause in caught.value.cause
    assert "official file" in caught.value.remedy


def write_fashion(folder: Path, *, label: int = 9, leave_out: str = "") -> None:
    """The four files as the authors lay them out, the training files plain and the others compressed."""
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(count * 784)
        labels = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes([label]) * count
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if name == leave_out:
                continue
            if part == "train":
                (folder / name).write_bytes(content)
            else:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))


def test_fashion_mnist_is_read_from_the_named_folder(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    notes: list[str] = []
    options = RunOptions(task="simple_cnn/fashion_mnist")
    task = WrittenOut(load(options, DataOptions(path=str(tmp_path)), lambda text, _: notes.append(text)))
    assert (task.train_size, task.test_size) == (60_000, 10_000)
    images, labels = task.train_batch(torch.tensor([59_999]), epoch=0)
    assert (images.shape, labels.tolist()) == ((1, 1, 28, 28), [9])
    assert notes == [f"reading fashion_mnist from {tmp_path}"]


def test_fashion_mnist_with_a_label_there_is_no_class_for(tmp_path: Path) -> None:
    write_fashion(tmp_path, label=10)
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: expected labels from 0 to 9, found 10"):
        image_data("fashion_mnist", RunOptions(), DataOptions(path=str(tmp_path)), print)


def test_a_folder_with_some_of_the_files_is_an_error_that_names_the_others(tmp_path: Path) -> None:
    write_fashion(tmp_path, leave_out="t10k-labels-idx1-ubyte")
    with pytest.raises(DataError, match=r"some files of fashion_mnist are there, but not t10k-labels-idx1-ubyte\.gz"):
        image_data("fashion_mnist", RunOptions(), DataOptions(path=str(tmp_path)), print)


def test_the_digits_in_the_repository_are_real_and_small() -> None:
    data = image_data("digits", RunOptions(), DataOptions(), print)
    assert isinstance(data.train, ImageSet)
    assert isinstance(data.test, ImageSet)
    images, labels = data.train.take(torch.arange(1500))
    assert int(images.max()) == 16
    assert labels.bincount().min() > 130
    assert float(images.float().mean()) == pytest.approx(data.mean[0], abs=0.01)
    assert float(images.float().std()) == pytest.approx(data.std[0], abs=0.01)
    test, _ = data.test.take(torch.arange(297))
    seen = {bytes(image.flatten().tolist()) for image in images}
    assert not any(bytes(image.flatten().tolist()) in seen for image in test), "no test picture was trained on"
    files = list((Path(idx.__file__).parent / "digits").glob("*.gz"))
    assert sum(path.stat().st_size for path in files) < 60_000
