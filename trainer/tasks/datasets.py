"""The data sets by name: where each comes from, its statistics and its augmentation.

`trainer.tasks.load` asks for one.

    >>> image_data("digits", RunOptions(), DataOptions(), note).train.take(torch.tensor([0]))[0].shape
    torch.Size([1, 1, 8, 8])
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import IMAGE_FOLDER
from motley.trainer.errors import DataError
from motley.trainer.tasks import cifar, idx, synthetic
from motley.trainer.tasks.data_location import Source, find, keep_open
from motley.trainer.tasks.download import Archive, Note
from motley.trainer.tasks.image_folder import data_set
from motley.trainer.tasks.images import ImageData, ImageSet

_FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_FASHION_MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}


def _idx_set(images: Path, labels: Path, *, count: int, size: int, classes: int) -> ImageSet:
    pictures = idx.read(images, (count, size, size))
    numbers = idx.read(labels, (count,)).long()
    if int(numbers.max()) >= classes:
        cause = f"{labels}: expected labels from 0 to {classes - 1}, found {int(numbers.max())}"
        raise DataError(cause, "Replace it with the official file")
    return ImageSet(pictures[:, None], numbers)


def _digits() -> ImageData:
    folder = Path(__file__).parent / "digits"

    def part(name: str, count: int) -> ImageSet:
        images, labels = folder / f"{name}-images.idx3.gz", folder / f"{name}-labels.idx1.gz"
        return _idx_set(images, labels, count=count, size=8, classes=10)

    return ImageData(
        train=part("train", 1500),
        test=part("test", 297),
        classes=10,
        channels=1,
        size=8,
        mean=(4.88,),
        std=(6.01,),
    )


def _idx_file(folder: Path, name: str) -> Path | None:
    """A file of IDX format, compressed or not."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _missing_fashion(folder: Path) -> tuple[str, ...]:
    return tuple(f"{name}.gz" for name in _FASHION_MD5 if _idx_file(folder, name) is None)


FASHION_MNIST = Source(
    name="fashion_mnist",
    archives=tuple(
        Archive(name=f"{name}.gz", url=f"{_FASHION_URL}/{name}.gz", md5=md5) for name, md5 in _FASHION_MD5.items()
    ),
    missing=_missing_fashion,
    some=lambda folder: len(_missing_fashion(folder)) < len(_FASHION_MD5),
    system=Path("/usr/share/datasets/fashion-mnist"),  # of Debian's package dataset-fashion-mnist
)


def _fashion_mnist(data: DataOptions, note: Note) -> ImageData:
    folder = find(FASHION_MNIST, data, note)
    note(f"reading fashion_mnist from {folder}", None)

    def part(name: str, count: int) -> ImageSet:
        images, labels = (_idx_file(folder, f"{name}-{what}-ubyte") for what in ("images-idx3", "labels-idx1"))
        if images is None or labels is None:
            raise DataError(f"{folder}: a file of fashion_mnist was removed just now", "Put it back")
        return _idx_set(images, labels, count=count, size=28, classes=10)

    return ImageData(
        train=part("train", 60_000),
        test=part("t10k", 10_000),
        classes=10,
        channels=1,
        size=28,
        mean=(72.94,),
        std=(90.02,),
    )


def _cifar(
    name: str,
    layout: cifar.Layout,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    data: DataOptions,
    note: Note,
) -> ImageData:
    source = Source(
        name=name,
        archives=(layout.archive,),
        missing=partial(cifar.missing, layout),
        some=partial(cifar.some, layout),
    )
    folder = find(source, data, note)
    note(f"reading {name} from {folder}", None)
    train, test = cifar.read(layout, folder)
    return ImageData(
        train=train,
        test=test,
        classes=layout.classes,
        channels=3,
        size=32,
        mean=mean,
        std=std,
        shift=4,
        flip=True,
    )


def _synthetic(run: RunOptions) -> ImageData:
    return ImageData(
        train=synthetic.SyntheticImages(count=run.num_samples, seed=run.seed, part=0),
        test=synthetic.SyntheticImages(count=max(1, run.num_samples // 4), seed=run.seed, part=1),
        classes=synthetic.CLASSES,
        channels=synthetic.CHANNELS,
        size=synthetic.SIZE,
        mean=(127.5,) * synthetic.CHANNELS,
        std=(66.0,) * synthetic.CHANNELS,
    )


def _image_folder(data: DataOptions, note: Note) -> ImageData:
    if not data.path:
        raise DataError(f"{IMAGE_FOLDER}: no folder is named", 'Name it in [data]: push = "photos", or path')
    folder = Path(data.path).expanduser()
    keep_open(folder)
    return data_set.read(folder, data.image_size, note)


def image_data(name: str, run: RunOptions, data: DataOptions, note: Note) -> ImageData:
    """The data set of that name, one of `contract.task_name.DATASETS`. Raises DataError when its files can't be had."""
    match name:
        case "digits":
            return _digits()
        case "fashion_mnist":
            return _fashion_mnist(data, note)
        case "cifar10":
            return _cifar(name, cifar.CIFAR10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7), data, note)
        case "cifar100":
            return _cifar(name, cifar.CIFAR100, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4), data, note)
        case "synthetic_image":
            return _synthetic(run)
        case "image_folder":
            return _image_folder(data, note)
        case _:
            raise ValueError(f"no data set {name!r}")
