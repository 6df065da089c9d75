"""The tasks that come with Motley, with their sizes, for those without torch: `motley tasks` shows them.

>>> DATA["digits"].train, parameters("mlp", "digits")
(1500, 4349962)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """One data set: pictures of `channels` x `size` x `size`. `train` and `test` None: as many as `run.num_samples`
    asks for, or as there are; `size` None: what `data.image_size` says; `classes` None: the user's."""

    train: int | None
    test: int | None
    channels: int
    size: int | None
    classes: int | None
    comes: str  # from where; megabytes: it is downloaded


DATA = {
    "digits": DataFacts(train=1500, test=297, channels=1, size=8, classes=10, comes="with Motley"),
    "fashion_mnist": DataFacts(train=60_000, test=10_000, channels=1, size=28, classes=10, comes="30 MB, or [data]"),
    "cifar10": DataFacts(train=50_000, test=10_000, channels=3, size=32, classes=10, comes="170 MB, or [data]"),
    "cifar100": DataFacts(train=50_000, test=10_000, channels=3, size=32, classes=100, comes="169 MB, or [data]"),
    "synthetic_image": DataFacts(train=None, test=None, channels=3, size=32, classes=10, comes="made up"),
    "image_folder": DataFacts(train=None, test=None, channels=3, size=None, classes=None, comes="yours: [data]"),
}

MODELS = {
    "simple_cnn": "a small convolutional network",
    "mlp": "two layers of 2,048: quick to compute, heavy to send",
    "resnet18": "ResNet-18 for small pictures",
    "resnet50": "ResNet-50 for small pictures",
}

_PARAMETERS = {  # of each model, with the data sets in the order above; where they are known
    "simple_cnn": (66_154, 66_154, 66_730, 158_980, 66_730),
    "mlp": (4_349_962, 5_824_522, 10_510_346, 10_694_756, 10_510_346),
    "resnet18": (11_172_810, 11_172_810, 11_173_962, 11_220_132, 11_173_962),
    "resnet50": (23_519_690, 23_519_690, 23_520_842, 23_705_252, 23_520_842),
}


def parameters(model: str, dataset: str) -> int | None:
    """How many the model has for pictures of that data set, with norm = "batch". None: that depends on the user's."""
    return None if DATA[dataset].classes is None else _PARAMETERS[model][list(DATA).index(dataset)]
