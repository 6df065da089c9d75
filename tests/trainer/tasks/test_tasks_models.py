"""Models: any of them for any pictures, the same first weights everywhere."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from motley.trainer.contract.task_list import DATA, parameters
from motley.trainer.contract.task_name import MODELS
from motley.trainer.tasks.models import build

SHAPES = torch.device("meta")  # where only shapes count: tensors that hold no values, and cost nothing


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
@pytest.mark.parametrize(
    ("channels", "size", "classes", "norm"),
    [(1, 8, 10, "batch"), (1, 28, 10, "group"), (3, 32, 100, "batch"), (3, 65, 7, "group"), (3, 224, 1000, "batch")],
)
def test_any_model_trains_on_any_pictures(
    name: str, channels: int, size: int, classes: int, norm: Literal["batch", "group"]
) -> None:
    """One sample at a time too, the smallest share of a rank: batch norm needs more than one position of the map."""
    model = build(name, channels=channels, size=size, classes=classes, norm=norm, seed=0)
    outputs = model(torch.randn(1, channels, size, size))
    assert outputs.shape == (1, classes)
    outputs.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    wanted, other = (nn.BatchNorm2d, nn.GroupNorm) if norm == "batch" else (nn.GroupNorm, nn.BatchNorm2d)
    assert any(isinstance(module, wanted) for module in model.modules())
    assert not any(isinstance(module, other) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 11.690), ("resnet50", 25.557)],
)
def test_resnets_have_the_published_number_of_weights(name: str, millions: float) -> None:
    with SHAPES:
        model = build(name, channels=3, size=224, classes=1000, norm="batch", seed=0)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.001)


def test_the_mlp_takes_pictures_of_any_size_and_is_heavy_to_send() -> None:
    for channels, size in ((1, 8), (3, 32)):
        other = build("mlp", channels=channels, size=size, classes=10, norm="group", seed=0)
        assert other(torch.zeros(1, channels, size, size)).shape == (1, 10)
    model = build("mlp", channels=1, size=28, classes=10, norm="batch", seed=0)
    assert sum(p.numel() for p in model.parameters()) * 4 / 1e6 == pytest.approx(23.3, abs=0.1)


def test_small_pictures_keep_their_detail() -> None:
    """The last map is 4 x 4 or more up to 64 pixels; the stem of ImageNet would leave 1 x 1 of 32."""
    for size, side in ((8, 4), (28, 4), (32, 4), (64, 8), (224, 7)):
        with SHAPES:
            model = build("resnet18", channels=3, size=size, classes=10, norm="batch", seed=0)
            assert isinstance(model, nn.Sequential)
            assert model[:-3](torch.zeros(2, 3, size, size)).shape[2:] == (side, side)


def test_first_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = build("simple_cnn", channels=1, size=8, classes=10, norm="batch", seed=seed)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights(7)
    assert torch.equal(torch.get_rng_state(), state), "the process's other random numbers go on untouched"
    torch.manual_seed(2)
    assert torch.equal(first, weights(7))
    assert not torch.equal(first, weights(8))


def test_first_outputs_have_the_scale_of_he_initialisation() -> None:
    """Signals neither vanish nor explode through fifty layers."""
    model = build("resnet50", channels=3, size=32, classes=10, norm="group", seed=0)
    with torch.no_grad():
        spread = float(model(torch.randn(4, 3, 32, 32)).std())
    assert 0.1 < spread < 50


def test_dropout_comes_before_the_last_layer_and_renames_no_weight() -> None:
    plain = build("simple_cnn", channels=1, size=8, classes=10, norm="batch", seed=0)
    model = build("simple_cnn", channels=1, size=8, classes=10, norm="batch", seed=0, dropout=0.5)
    *_, dropout, last = model
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.5
    assert isinstance(last, nn.Linear)
    model.load_state_dict(plain.state_dict())
    inputs = torch.randn(4, 1, 8, 8)
    assert torch.equal(model.eval()(inputs), plain.eval()(inputs))
    assert not torch.equal(model.train()(inputs), model(inputs))


def test_the_sizes_that_are_listed_are_those_that_are_built() -> None:
    for model in MODELS:
        for name, data in DATA.items():
            if data.size is None or data.classes is None:
                assert parameters(model, name) is None
                continue
            with SHAPES:
                built = build(model, channels=data.channels, size=data.size, classes=data.classes, norm="batch", seed=0)
            assert sum(p.numel() for p in built.parameters()) == parameters(model, name)
