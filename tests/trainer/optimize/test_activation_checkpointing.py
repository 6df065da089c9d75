"""Blocks that are computed again in the backward pass: which they are, what they keep, that nothing else differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import TaskError
from motley.trainer.optimize.activation_checkpointing import blocks, checkpoint_blocks
from motley.trainer.tasks.models import build
from motley.trainer.training.loop import train_step
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import make_job, run_ranks

BATCH, STEPS = 24, 5
SPLITS = ((24, 0), (23, 1), (9, 15))


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(12, 6))


class Deep(NoiseTask):
    """Four blocks with all that a second computation could do wrong: BatchNorm, dropout, an operation in place."""

    name = "deep/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(*(block() for _ in range(4)), nn.Linear(6, 4)).double()


def test_blocks_are_the_outermost_that_are_repeated() -> None:
    names = {"resnet18": 8, "resnet50": 16, "mlp": 0, "simple_cnn": 0}
    for name, count in names.items():
        assert len(blocks(build(name, channels=1, size=8, classes=10, norm="group", seed=0))) == count, name
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert len(blocks(nn.TransformerEncoder(layer, 3))) == 3
    backbone = nn.Sequential(*(block() for _ in range(2)))
    assert blocks(nn.ModuleDict({"backbone": backbone, "head": nn.Linear(6, 2)})) == list(backbone)
    shared = block()
    assert blocks(nn.ModuleList([shared, shared, block()]))[0] is shared
    assert len(blocks(nn.ModuleList([shared, shared, block()]))) == 2


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(TaskError, match="no repeated blocks"):
        checkpoint_blocks(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def kept_bytes(model: nn.Module) -> int:
    """What autograd keeps for the backward pass besides the parameters."""
    parameters = {p.data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            found[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    inputs = torch.randn(64, 6, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(inputs)
    torch.autograd.backward(outputs.sum())
    return sum(found.values())


def test_a_block_keeps_its_input_alone_and_names_stay() -> None:
    model = Deep().model()
    names, whole = list(model.state_dict()), kept_bytes(model)
    assert checkpoint_blocks(model) == 4
    assert kept_bytes(model) < whole / 3
    assert list(model.state_dict()) == names
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        assert not model(torch.zeros(2, 6, dtype=torch.float64)).requires_grad


def of_splits(rank: int, world_size: int, _given: dict[str, Any]) -> list[list[list[Any]]]:
    """Weights and buffers after some steps, for each split: as they come without and with checkpointing."""
    found = []
    for again in (False, True):
        options = RunOptions(global_batch=BATCH, steps=STEPS, activation_checkpointing=again, accumulate=2)
        runs = []
        for split in SPLITS:
            job = make_job(rank, world_size, options, split, double=False, task=Deep())
            while job.step < STEPS:
                train_step(job, job.batches.place(job.step))
            runs.append([tensor.numpy() for tensor in job.task_model.state_dict().values()])
        found.append(runs)
    return found


@pytest.mark.ranks
def test_weights_statistics_and_dropout_are_those_of_a_run_without_it() -> None:
    for without, with_it in run_ranks(2, of_splits, {}):
        for one, other in zip(without, with_it, strict=True):
            for ours, theirs in zip(one, other, strict=True):
                assert torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-12, atol=1e-14)
