"""One step of a loop of the user's own: what a single sample does to BatchNorm, and the loss that is told of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.peers import StepFigures
from motley.trainer.api.plain_peers import PlainPeers
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.session import Session
from motley.trainer.devices import memory_shortage
from tests.trainer.api.sessions import running
from tests.trainer.coordinating import summary

BATCH = 8
DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))


class Peers(PlainPeers):
    """Gives this rank `share` samples of each step, as if another one had the others, and keeps what it is told."""

    def __init__(self, share: int) -> None:
        super().__init__()
        self.share = share
        self.losses: list[float] = []  # mean of each step

    def begin(self, loop: LoopPlan, prepared: Prepared) -> None:
        super().begin(loop, prepared)
        self.shares = (self.share, BATCH - self.share)

    def step_ended(self, figures: StepFigures) -> None:
        super().step_ended(figures)
        if figures.samples:
            self.losses.append(figures.loss_sum / figures.samples)


def model() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def training(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


HANDS_OUT: dict[str, Any] = {
    "batch": lambda step, _: [step.batch[0]],
    "parts": lambda step, _: (x for (x,) in step.parts(rows=3)),
    "own batches": lambda step, _: [DATA[step.ids] if step.ids else DATA[:1]],
    "model.train() in the step": lambda step, net: [net.train() and step.batch[0]],
}


@pytest.mark.parametrize("share", [0, 1, 4])
@pytest.mark.parametrize("how", HANDS_OUT)
def test_a_single_sample_goes_through_batchnorm_and_leaves_no_trace_in_its_statistics(how: str, share: int) -> None:
    run, net = Session(Peers(share)), model()
    frozen = nn.BatchNorm1d(2).eval()  # by the user
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    run.prepare(net, optimizer, frozen)
    before = copy.deepcopy(dict(net.named_buffers()))
    modes = training(net)
    for step in run.steps((DATA,), global_batch=BATCH, steps=1):
        with step:
            for x in HANDS_OUT[how](step, net):
                step.backward(net(x).square().sum())
            optimizer.step()
        assert step.done
        assert training(net) == modes
        assert not frozen.training
    tracked = int(dict(net.named_buffers())["1.num_batches_tracked"])
    assert tracked == int(share > 1)  # parts: 3 samples count, the last one does not
    changed = any(not torch.equal(before[name], value) for name, value in net.named_buffers())
    assert changed == (share > 1)


def test_who_asks_for_single_samples_has_their_statistics() -> None:
    """As in any script: of a picture BatchNorm2d has those of all its pixels."""
    run, net = Session(Peers(4)), nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.BatchNorm2d(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    run.prepare(net, optimizer)
    for step in run.steps((DATA,), global_batch=BATCH, steps=1):
        with step:
            for (x,) in step.parts(rows=1):
                step.backward(net(x).square().sum())
            optimizer.step()
    assert int(dict(net.named_buffers())["1.num_batches_tracked"]) == 4


@pytest.mark.parametrize("says_eval", [False, True])
def test_after_a_step_that_ends_early_the_layers_are_as_the_user_has_them(says_eval: bool) -> None:
    run, net = Session(Peers(1)), model()
    run.prepare(net)
    modes = training(net.eval() if says_eval else net)
    net.train()

    def loop() -> None:
        for step in run.steps((DATA,), global_batch=BATCH, steps=1):
            with step:
                net(step.batch[0])
                if says_eval:
                    net.eval()
                raise OSError("no such picture")

    with pytest.raises(OSError, match="no such picture"):
        loop()
    assert training(net) == modes


def test_layers_whose_statistics_are_those_of_all_ranks_are_left_alone() -> None:
    run, net = Session(Peers(1)), nn.Sequential(nn.Linear(6, 1), nn.SyncBatchNorm(1))
    run.prepare(net)
    for step in run.steps((DATA,), global_batch=BATCH, steps=1):
        with step:
            assert net[1].training
            step.backward(net[0](step.batch[0]).sum())


class TriedSizes(Peers):
    """As where steps of several sizes are tried on a GPU, which has so many bytes free."""

    tries = True

    def __init__(self, share: int, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(share)
        monkeypatch.setattr(memory_shortage, "_free", lambda _device: free)
        self.reasons: list[str] = []

    def settle(self) -> None:
        self.device = torch.device("cpu")

    def step_begins(self) -> None:
        self.device = torch.device("cuda:0")

    def broke(self, reason: str) -> None:
        self.reasons.append(reason)
        self.shares = (self.shares[0] // 2, BATCH - self.shares[0] // 2)


INTERNAL, NAMED = "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"


def tried(peers: TriedSizes, room: int, says: str) -> None:
    run, net = Session(peers), model()
    run.prepare(net)
    for step in run.steps((DATA,), global_batch=BATCH, steps=1):
        with step:
            if len(step.ids) > room:
                raise RuntimeError(says)
            step.backward(net(DATA[step.ids]).square().sum())


@pytest.mark.parametrize("says", [INTERNAL, NAMED])
def test_a_library_that_lacks_memory_is_heard_where_sizes_are_tried(monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    peers = TriedSizes(8, 100 << 20, monkeypatch)
    tried(peers, 3, says)
    assert peers.reasons == [says, says]
    assert len(peers.losses) == 1


@pytest.mark.parametrize(("share", "free"), [(1, 100 << 20), (8, 8 << 30)])
def test_what_may_be_something_else_is_raised(monkeypatch: pytest.MonkeyPatch, share: int, free: int) -> None:
    peers = TriedSizes(share, free, monkeypatch)
    with pytest.raises(RuntimeError, match=INTERNAL):
        tried(peers, 0, INTERNAL)
    assert peers.reasons == []


def losses(scaler: Any, body: Any) -> list[float]:
    """Of three steps, in the last of which the scale doubles."""
    peers = Peers(5)
    run, net = Session(peers), model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    run.prepare(net, optimizer, scaler)
    for step in run.steps((DATA,), global_batch=BATCH, steps=3):
        with step:
            body(step, net, scaler)
            scaler.step(optimizer)
            scaler.update()
    return peers.losses


def whole(step: Any, net: nn.Module, scaler: Any) -> None:
    step.backward(scaler.scale(net(step.batch[0]).square().sum()))


def mean(step: Any, net: nn.Module, scaler: Any) -> None:
    step.backward(scaler.scale(functional.mse_loss(net(step.batch[0]), torch.zeros(5, 1))), mean=True)


def parts(step: Any, net: nn.Module, scaler: Any) -> None:
    for (x,) in step.parts(rows=3):
        step.backward(scaler.scale(net(x).square().sum()))


@pytest.mark.parametrize("body", [whole, mean, parts])
def test_the_loss_that_is_told_is_without_the_factor_of_a_scaler(body: Any) -> None:
    found = losses(torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2), body)
    expected = losses(torch.amp.GradScaler("cpu", enabled=False), body)
    assert len(expected) == 3
    assert found == pytest.approx(expected, rel=1e-5)


LOOP = """
import torch
import motley

torch.manual_seed(3)
data = torch.randn(64, 6)
run = motley.session()
model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu", enabled=ENABLED)
run.prepare(model, optimizer, scaler)
for step in run.steps((data,), global_batch=16, steps=6):
    with step:
        (x,) = step.batch
        step.backward(scaler.scale(model(x).square().sum()))
        scaler.step(optimizer)
        scaler.update()
"""


@pytest.mark.ranks
async def test_ranks_with_a_single_sample_and_with_none_train_and_tell_the_loss_of_a_run_without_a_scaler(
    tmp_path: Path,
) -> None:
    found = {}
    for enabled in (False, True):
        script = LOOP.replace("ENABLED", str(enabled))
        async with running(tmp_path / str(enabled), script, members=3, shares=(15, 1, 0)) as run:
            assert await run.codes() == [0, 0, 0], run.errors()
        found[enabled] = summary(run.home(0))["final_loss"]
    assert found[True] == pytest.approx(found[False], rel=1e-4)
