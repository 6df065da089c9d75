"""Layers on another card than the rest: the same loss and gradients, with torch's own rule that devices don't mix.

All is done in a process that has a stand-in for a second device (`tests.support.stand_in_card`): an operation on
tensors of both raises, as it does on two cards.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from motley.trainer.errors import TaskError
from motley.trainer.llm.cards.card_of_layer import decoder_layers, told
from motley.trainer.llm.cards.layer_on_card import Mover, bring_to_layers, put
from motley.trainer.optimize.activation_checkpointing import checkpoint_blocks
from motley.trainer.optimize.weight_average import WeightAverage
from tests.support import stand_in_card
from tests.trainer.llm.several_cards_decoder import Decoder, batch, gradients, loss_of
from tests.trainer.ranks import run_ranks

pytestmark = pytest.mark.ranks
CPU = torch.device("cpu")


def split(model: Decoder, cards: tuple[int, ...]) -> Decoder:
    devices = [CPU, stand_in_card.begin()]
    layers = decoder_layers(model)
    put(model, layers, cards, devices)
    bring_to_layers(layers, cards, devices)
    return model


def learned(model: Decoder) -> tuple[float, dict[str, Any]]:
    loss = loss_of(model)
    torch.autograd.backward(loss)
    return float(loss.detach()), {name: found.numpy() for name, found in gradients(model).items()}


def two_devices(given: dict[str, Any]) -> Any:
    model = Decoder()
    if given.get("all"):
        model.requires_grad_(True)
    if not given["cards"]:
        return learned(model)
    names = [name for name, _ in model.named_parameters()]
    split(model, given["cards"])
    if given.get("again"):
        checkpoint_blocks(model)
    found = learned(model)
    assert [name for name, _ in model.named_parameters()] == names
    where = {name: weight.device.type for name, weight in (*model.named_parameters(), *model.named_buffers())}
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    return (*found, where, trained, model.head.weight is model.base_model.embed.weight)


CASES = [
    {"cards": cards, "all": whole, "again": again}
    for cards in [(0, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 1)]
    for whole in (False, True)
    for again in (False, True)
]


def without_what_brings(*, inputs: bool) -> str:
    model, card = Decoder(), stand_in_card.begin()
    put(model, decoder_layers(model), (0, 0, 1, 1), [CPU, card])
    move = Mover(card)
    for layer in decoder_layers(model)[2:] if inputs else ():
        layer.register_forward_pre_hook(lambda _, args, kwargs: (move(args), move(kwargs)), with_kwargs=True)
    with pytest.raises(RuntimeError, match="same device") as raised:
        loss_of(model)
    return str(raised.value)


def other_things() -> dict[str, Any]:
    model = split(Decoder(), (0, 0, 1, 1))
    found: dict[str, Any] = {}
    stand_in_card.moves.clear()
    ids, _, mask = batch()
    with torch.no_grad():
        model(ids, mask)
    found["moves"] = len(stand_in_card.moves)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.mul_(3.0)
    plain, before = Decoder(), model(ids, mask).detach()
    found["average"] = torch.equal(average.copy(ids, mask), plain(ids, mask))
    found["model"] = torch.equal(model(ids, mask).detach(), before) and not torch.equal(before, plain(ids, mask))
    found["copied"] = copy.deepcopy(model)(ids, mask).shape == before.shape
    layer = decoder_layers(model)[3]
    kept = [id(weight) for weight in layer.parameters()]
    with pytest.raises(TypeError):
        layer(before, nothing=None)
    found["put back"] = kept == [id(weight) for weight in layer.parameters()]
    return found


def with_dropout(*, there: bool) -> Any:
    model = Decoder(0.3)
    if there:
        split(model, (0, 0, 1, 1))
        checkpoint_blocks(model)
    torch.manual_seed(8)
    return learned(model)


def everything(_rank: int, _world: int, _given: dict[str, Any]) -> dict[str, Any]:
    """In one process, which has the device from its start."""
    stand_in_card.begin()
    return {
        "plain": {whole: two_devices({"cards": (), "all": whole}) for whole in (False, True)},
        "split": [two_devices(case) for case in CASES],
        "refused": [without_what_brings(inputs=inputs) for inputs in (False, True)],
        "other": other_things(),
        "dropout": [with_dropout(there=there) for there in (False, True)],
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    told: dict[str, Any] = run_ranks(1, everything, {})[0]
    return told


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    close = [torch.allclose(torch.as_tensor(ours[n]), torch.as_tensor(theirs[n]), 1e-10, 1e-14) for n in theirs]
    return list(ours) == list(theirs) and all(close)


@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_loss_and_gradients_are_those_of_one_card(found: dict[str, Any], case: int) -> None:
    cards = CASES[case]["cards"]
    loss, expected = found["plain"][CASES[case]["all"]]
    ours, grads, where, trained, tied = found["split"][case]
    assert ours == pytest.approx(loss, rel=1e-12)
    assert same(grads, expected)
    away = {name for name, device in where.items() if device == "card"}
    there = tuple(f"base_model.layers.{number}." for number in range(4) if cards[number])  # type: ignore[index]
    assert away == {name for name in where if name.startswith(there)} - trained
    assert tied


def test_the_stand_in_refuses_what_two_cards_would(found: dict[str, Any]) -> None:
    """Without what moves inputs, or weights, the model can't compute: so the tests above would fail."""
    assert ["card:0 and cpu" in told for told in found["refused"]] == [True, True]


def test_other_things_that_are_done_with_a_model(found: dict[str, Any]) -> None:
    """Positions and the mask go to a card once, not to each layer there; an average is a copy that computes by itself;
    a layer that fails keeps its own weights."""
    other = dict(found["other"])
    weights = 2 * 2  # of two layers: the matrices of their adapters
    assert other.pop("moves") == 1 + 2 + 1 + weights + 1  # states, cos and sin, the mask; and what comes back
    assert other == {"average": True, "model": True, "copied": True, "put back": True}


def test_what_is_computed_again_leaves_out_the_same(found: dict[str, Any]) -> None:
    (plain, expected), (ours, grads) = found["dropout"]
    assert ours == pytest.approx(plain, rel=1e-12)
    assert same(grads, expected)


def test_a_mask_that_was_changed_in_its_place_is_brought_anew() -> None:
    mover, mask = Mover(torch.device("meta")), torch.ones(3)
    first = mover((mask,))[0]
    assert mover({"mask": mask})["mask"] is first
    mask.add_(1)
    assert mover([mask])[0] is not first
    assert mover("else") == "else"


def test_layers_that_are_not_known_are_said() -> None:
    model: Any = Decoder()
    assert decoder_layers(model) == list(model.base_model.layers)
    model.base_model.layers = nn.Sequential(*model.base_model.layers)
    with pytest.raises(TaskError, match="Decoder keeps its layers in a way that is not known"):
        decoder_layers(model)


def test_where_layers_lie_is_told() -> None:
    devices = [torch.device("meta"), torch.device("cpu")]
    assert told((0, 0, 0, 1), devices) == "layers 1 to 3 on meta, 4 to 4 on cpu"
