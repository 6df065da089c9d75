"""Weights that every host has by itself: told apart by name, left out, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from motley.trainer.contract.data_fingerprint import FROZEN, DataFingerprint, difference, unlike
from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import CheckpointError, TaskError
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.local_weights import NONE, LocalWeights
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.optimize.train_state import TrainState
from motley.trainer.optimize.weight_average import WeightAverage
from motley.trainer.training import checkpoint
from tests.trainer.noise_task import NoiseTask
from tests.trainer.optimize.headed_task import SEED, Headed

HEAD = {"head.weight", "head.bias"}


def state_of(task: Headed, **options: Any) -> TrainState:
    model = task.model()
    run = RunOptions(**options)
    ema = WeightAverage(model, 0.5) if run.ema is not None else None
    return TrainState(
        model=model, optimizer=make_optimizer(run, model), ema=ema, local=LocalWeights.of(task, model),
        apart=LocalSgd(run, model, ema) if run.local_steps > 1 else None,
    )  # fmt: skip


def trained(state: TrainState) -> None:
    for parameter in state.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("groups", [False, True])
def test_a_checkpoint_holds_what_is_trained_and_is_loaded_beside_what_is_not(
    tmp_path: Path, optimizer: str, groups: bool
) -> None:
    options = {"optimizer": optimizer, "weight_decay_groups": groups, "ema": 0.5, "local_steps": 2}
    state = state_of(Headed(), **options)
    trained(state)
    about = {"step": 1, "epoch": 0, "seed": 0, "global_batch": 4, "task": "headed"}
    path = checkpoint.save(tmp_path / "final.pt", {**about, **state.to_dict()}).path
    saved = checkpoint.load(path)
    assert set(saved["model"]) == set(saved["ema"]) == HEAD
    assert len(saved["optimizer"]["state"]) == len(HEAD)
    assert saved["outer"]["velocity"].numel() == sum(saved["model"][name].numel() for name in HEAD)
    assert "trunk.0.weight" in saved["local"]["names"]
    other = state_of(Headed(), **options)
    other.local.check(saved["local"], path.name)
    other.load(saved)
    for name, value in state.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value), name
    assert state.ema is not None
    assert other.ema is not None
    for one, another in zip(state.ema.tensors(), other.ema.tensors(), strict=True):
        assert torch.equal(one, another)
    assert len(other.ema.tensors()) == len(HEAD)


def test_an_average_shares_what_is_frozen_with_the_model() -> None:
    state = state_of(Headed(), ema=0.5)
    assert state.ema is not None
    copy = state.ema.refreshed()
    assert copy.get_parameter("trunk.0.weight") is state.model.get_parameter("trunk.0.weight")
    assert copy.get_parameter("head.weight") is not state.model.get_parameter("head.weight")


def test_other_weights_are_refused_by_both_digests_and_others_types_of_the_same_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = state_of(Headed()).local
    model = Headed().model()
    for weight in model.parameters():  # as they come from a disk
        weight.data = weight.data.to(torch.bfloat16).double()
    double, short = LocalWeights.of(Headed(), model), LocalWeights.of(Headed(), model.to(torch.bfloat16))
    double.check(short.table, "final.pt")
    assert (double.table["dtypes"], short.table["dtypes"]) == (["float64"], ["bfloat16"])
    monkeypatch.setenv(SEED, "8")
    theirs = state_of(Headed()).local
    with pytest.raises(CheckpointError) as refused:
        mine.check(theirs.table, "final.pt")
    for digest in (mine.table["digest"], theirs.table["digest"]):
        assert digest in str(refused.value)
    assert "final.pt was trained on other weights" in refused.value.cause
    assert "trunk.0.bias and 3 more" in refused.value.cause


def test_a_rank_says_which_weights_it_has_beside_what_its_data_is(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataFingerprint(length=9, exact="a1", identity=(("tokenizer", "3f2a"),))
    mine = state_of(Headed()).local.told_in(data)
    short = LocalWeights.of(Headed(), Headed().model().to(torch.bfloat16)).told_in(data)
    assert mine.identity[0] == ("tokenizer", "3f2a")
    assert difference(mine, short) is None
    monkeypatch.setenv(SEED, "8")
    theirs = state_of(Headed()).local.told_in(data)
    assert unlike(theirs, mine) == [FROZEN]
    assert NONE.told_in(data) == data


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({"names": ["trunk.1"], "digest": "a"}, {}, "leaves 1 weights to each host, the model now 0: trunk.1 is no"),
        (None, {"names": ["trunk.1"], "digest": "a"}, "leaves 0 weights to each host, the model now 1: trunk.1 was no"),
    ],
)
def test_other_names_are_refused_by_the_first_of_them(then: Any, now: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        LocalWeights(table=now).check(then, "final.pt")
    NONE.check(None, "final.pt")


def test_what_is_trained_has_to_travel_and_what_is_tied_to_it_does() -> None:
    class Wrong(Headed):
        def travels(self, name: str) -> bool:
            return name != "head.bias"

    with pytest.raises(TaskError, match="head.bias is trained, and is not to travel. Let it travel, or freeze it"):
        LocalWeights.of(Wrong(), Headed().model())

    class Tied(NoiseTask):
        def model(self) -> nn.Module:
            model = nn.ModuleDict({"words": nn.Linear(4, 6), "out": nn.Linear(4, 6), "trunk": nn.Linear(6, 6)})
            model.get_submodule("out").weight = model.get_submodule("words").weight
            model.get_submodule("trunk").requires_grad_(False)
            return model

        def travels(self, name: str) -> bool:
            return name not in ("words.weight", "trunk.weight")

    model = Tied().model()
    local = LocalWeights.of(Tied(), model)
    assert local.keys == {"trunk.weight"}
    assert len(local.parameters(model)) == 4  # words.weight once, two biases of it and out, the trunk's bias
    assert LocalWeights.of(NoiseTask(), model) is NONE


def test_a_state_that_lacks_something_else_is_refused_as_torch_does() -> None:
    state = state_of(Headed())
    saved = state.to_dict()
    del saved["model"]["head.bias"]
    with pytest.raises(RuntimeError, match=r"lacks head\.bias"):
        state.load(saved)
    with pytest.raises(RuntimeError, match="has no tail"):
        state.load({**saved, "model": {**state.local.without(state.model.state_dict()), "tail": torch.zeros(1)}})
