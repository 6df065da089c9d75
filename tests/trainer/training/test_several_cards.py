"""Two real ranks, one with two devices and one with one: their gradients are those of one process that has one.

The second device is a stand-in (`tests.support.stand_in_card`): the hosts of these tests have no GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import motley
from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import TaskError
from motley.trainer.llm.cards.card_of_layer import decoder_layers
from motley.trainer.llm.cards.layer_on_card import bring_to_layers, put
from motley.trainer.tasks.task_module import placed
from motley.trainer.training.loop import train_step
from tests.support import stand_in_card
from tests.trainer.llm.several_cards_decoder import WORDS, Decoder
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks
CPU = torch.device("cpu")
SAMPLES, LENGTH = 24, 5
OPTIONS = RunOptions(task="two.py", global_batch=12, steps=2, optimizer="adamw", learning_rate=1e-2)
CARDS = (0, 0, 1, 1)


class Two(motley.Task):
    def model(self) -> nn.Module:
        model = Decoder()
        with torch.no_grad():
            for buffer in model.buffers():
                buffer += dist.get_rank() if dist.is_initialized() else 0  # until it comes from rank 0
        return model

    def train_data(self) -> Any:
        draw = torch.Generator().manual_seed(6)
        both = torch.randint(0, WORDS, (2, SAMPLES, LENGTH), generator=draw)
        return both[0], both[1]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)

    def spread(self, model: nn.Module, devices: Sequence[torch.device]) -> None:
        layers = decoder_layers(model)
        put(model, layers, CARDS, devices)
        bring_to_layers(layers, CARDS, devices)


class Whole(Two):
    """All of it learns."""

    def model(self) -> nn.Module:
        return super().model().requires_grad_(True)


KINDS = {"adapter": Two, "whole": Whole}


def steps(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Gradients of the first step and weights after two, of each kind of task; `given`: ranks with a second device."""
    beside = (stand_in_card.begin(),) if rank in given["several"] else ()
    shares = given["shares"]
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        job = make_job(rank, world_size, OPTIONS, shares, double=False, task=kind(), beside=beside)
        with torch.no_grad():  # what a buffer of a layer holds comes from rank 0, wherever it lies
            values = [float(buffer.sum()) for buffer in job.task_model.buffers()]
        train_step(job, job.batches.place(0))
        gradients = [p.grad.numpy() for p in job.model.parameters() if p.grad is not None]
        train_step(job, job.batches.place(1))
        weights = [p.detach().numpy() for p in job.model.parameters() if p.requires_grad]
        away = sum(p.device.type == stand_in_card.NAME for p in job.task_model.parameters())
        found[name] = gradients, weights, away, values
    return found


def test_they_are_those_of_one_process_with_one_device() -> None:
    alone = run_ranks(1, steps, {"several": (), "shares": (12,)})[0]
    ranks = run_ranks(2, steps, {"several": (1,), "shares": (7, 5)})
    for name in KINDS:
        gradients, weights, _, values = alone[name]
        assert [rank[name][2] > 0 for rank in ranks] == [False, name == "adapter"]  # what learns is on the first
        for ours, theirs, _, held in (rank[name] for rank in ranks):
            assert held == values
            for mine, expected in zip((*ours, *theirs), (*gradients, *weights)):
                assert torch.allclose(torch.as_tensor(mine), torch.as_tensor(expected), rtol=1e-6, atol=1e-12)


class Misplaced(Two):
    def spread(self, model: nn.Module, devices: Sequence[torch.device]) -> None:
        model.to(devices[1])


def test_what_is_trained_has_to_stay_on_the_first() -> None:
    with pytest.raises(TaskError, match=r"spread puts .*layers.0.mix.down.weight, which is trained, on meta"):
        placed(Misplaced(), Decoder(), (CPU, torch.device("meta")))
