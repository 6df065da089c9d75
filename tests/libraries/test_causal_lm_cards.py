"""A language model on two cards of one rank, of which the second is a stand-in: the same figures as on one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import TaskError
from motley.trainer.llm.cards.card_of_layer import cards_of_layers, decoder_layers
from motley.trainer.llm.cards.four_bits_on_cards import places_of, shape_of
from motley.trainer.llm.causal_lm import unwrapped
from motley.trainer.llm.generation import Prompt, greedy_answers
from motley.trainer.training.loop import train_step
from tests.libraries.tiny_llama import causal_lm, rows_of, with_some_adapter, write_llama
from tests.support import stand_in_card
from tests.trainer.ranks import make_job, run_ranks, with_torch

BOUND_S = 600.0  # importing transformers takes long where others compute
LAYERS = 4
RUN = RunOptions(task="causal_lm", global_batch=8, steps=3, optimizer="adamw", learning_rate=1e-3)
TASK: dict[str, Any] = {"dtype": "float64", "loss_chunk": 5, "lora_targets": ["q_proj", "down_proj"]}
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "adapter": ({}, False),
    "computed again": ({"lora_dropout": 0.2}, True),
    "all weights": ({"method": "full"}, False),
}


def steps(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Of each case: gradients of the first step, trained weights after two, an evaluation, answers, and where layers
    lie. `several`: which ranks have a second card."""
    beside = (stand_in_card.begin(),) if rank in given["several"] else ()
    found: dict[str, Any] = {}
    for name, (more, again) in CASES.items():
        run = dataclasses.replace(RUN, activation_checkpointing=again)
        task: Any = causal_lm(given["model"], rows_of(16), run, **{**TASK, **more})
        task.work = lambda: None
        task.beside = beside
        notes: list[str] = []
        task.note = lambda text, _, notes=notes: notes.append(text)
        job = make_job(rank, world_size, run, given["shares"], double=False, task=task, beside=beside)
        with_some_adapter(job.task_model)
        train_step(job, job.batches.place(0))
        gradients = [p.grad.numpy() for p in job.model.parameters() if p.grad is not None]
        train_step(job, job.batches.place(1))
        weights = [p.detach().numpy() for p in job.model.parameters() if p.requires_grad]
        with torch.no_grad():
            held = float(task.forward(job.task_model.eval(), task.collate(rows_of(4, seed=9))).sum())
        prompts = [Prompt("a", torch.tensor([7, 9, 11])), Prompt("b", torch.tensor([20, 6]))]
        answers = greedy_answers(job.task_model, task.tokenizer, prompts, max_tokens=5)
        layers: list[Any] = decoder_layers(unwrapped(job.task_model))
        lie = [layer.input_layernorm.weight.device.type for layer in layers]
        found[name] = gradients, weights, held, answers, lie, [note for note in notes if note.startswith("layers")]
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"), num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def both(model: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One process with one card, and two ranks of which one has two."""
    with_torch().set_forkserver_preload(["tests.libraries.imported"])
    alone = run_ranks(1, steps, {"model": model, "several": (), "shares": (8,)}, BOUND_S)[0]
    return alone, run_ranks(2, steps, {"model": model, "several": (1,), "shares": (5, 3)}, BOUND_S)


@pytest.mark.parametrize("case", [name for name in CASES if name != "computed again"])
def test_ranks_with_one_card_and_with_two_learn_what_one_process_does(both: Any, case: str) -> None:
    alone, ranks = both
    gradients, weights, held, answers, *_ = alone[case]
    for found in (rank[case] for rank in ranks):
        for mine, expected in zip((*found[0], *found[1]), (*gradients, *weights)):
            assert torch.allclose(torch.as_tensor(mine), torch.as_tensor(expected), rtol=1e-6, atol=1e-10)
        assert found[2] == pytest.approx(held, rel=1e-6)
        assert found[3] == answers


@pytest.mark.parametrize("case", CASES)
def test_layers_lie_on_both_cards_and_ranks_stay_alike(both: Any, case: str) -> None:
    """With dropout, too, whose random numbers are each rank's own."""
    one, two = (rank[case] for rank in both[1])
    assert one[4] == ["cpu"] * LAYERS
    assert one[5] == []
    (told,) = two[5]
    assert told.endswith(f" to {LAYERS} on card:0")
    if case == "computed again":  # layers keep little then, and the first card has the logits
        assert (told, two[4]) == ("layers 1 to 4 on card:0", ["card"] * LAYERS)
    else:
        assert "on cpu, " in told
    where = {
        "adapter": {"cpu", "card"},
        "all weights": {"cpu"},
        "computed again": {"card"},
    }  # all: which stay on the first, whatever computes with them
    assert set(two[4]) == where[case]
    assert two[4] == sorted(two[4], reverse=True)
    for mine, others in zip(one[1], two[1]):
        assert torch.equal(torch.as_tensor(mine), torch.as_tensor(others))


def test_what_does_not_fit_is_refused_with_its_figures(model: Path) -> None:
    task: Any = causal_lm(model)
    devices = [torch.device("meta:0"), torch.device("meta:1")]
    free = {devices[0]: 40_000, devices[1]: 10_000}
    with pytest.raises(TaskError) as raised:
        cards_of_layers(task.model().get_base_model(), task.options, RUN, [*free], free=lambda one: free[one])
    assert f"{model} does not fit on meta:0 and meta:1 together: its 4 layers take 0.0 GiB" in raised.value.cause
    assert raised.value.remedy.endswith('[task] method = "qlora"')


def test_weights_of_four_bits_are_told_each_where_to_lie(model: Path) -> None:
    task: Any = causal_lm(model, method="lora")
    shape, devices = (
        shape_of(task.config, task.options, torch.float32),
        [torch.device("meta:0"), torch.device("meta:1")],
    )
    assert {weight.device.type for weight in shape.parameters()} == {"meta"}
    room = {devices[0]: 1 << 24, devices[1]: 1 << 24}
    cards = cards_of_layers(shape, task.options, RUN, devices, free=lambda one: room[one])
    places = places_of(shape, decoder_layers(shape), cards, devices)
    assert [places[f"model.layers.{number}"] for number in range(LAYERS)] == [devices[card] for card in cards]
    assert set(cards) == {0, 1}
    others = {name for name in places if not name.startswith("model.layers.")}
    assert {"model.embed_tokens", "model.norm", "lm_head"} <= others
    assert {places[name] for name in others} == {devices[0]}
    held = {name for name, _ in (*shape.named_parameters(), *shape.named_buffers())}
    assert all(any(name.startswith(f"{part}.") for part in places) for name in held)
