"""A loop of the user's own in one process: what it trains, what is refused, and how much it adds to a step."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from motley.trainer.api.plain_peers import PlainPeers
from motley.trainer.api.session import Session
from motley.trainer.errors import SessionError, TaskError
from motley.trainer.training.sampler import BatchSampler


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    inputs = torch.randn(20, 6).double()
    return inputs, (inputs.sum(1) > 0).long()


def model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()


def prepared() -> tuple[Session, Any, Any]:
    run = Session(PlainPeers())
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return run, *run.prepare(net, optimizer)


def summed(net: nn.Module, batch: Any) -> Tensor:
    inputs, labels = batch
    return functional.cross_entropy(net(inputs), labels, reduction="sum")


def test_the_loop_trains_as_the_same_lines_without_it() -> None:
    run, net, optimizer = prepared()
    numbers = []
    for step in run.steps(data(), global_batch=8, epochs=3):
        with step:
            step.backward(summed(net, step.batch))
            optimizer.step()
        numbers.append((step.number, step.epoch, step.done, len(step.ids)))
    bare = model()
    stepper, (inputs, labels) = torch.optim.SGD(bare.parameters(), lr=0.1), data()
    batches = BatchSampler(count=20, global_batch=8, seed=0)
    for number in range(9):
        ids = batches.ids(number, (1,), 0)
        stepper.zero_grad()
        torch.autograd.backward(functional.cross_entropy(bare(inputs[ids]), labels[ids]))
        stepper.step()
    for mine, expected in zip(net.state_dict().values(), bare.state_dict().values(), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-9)
    assert numbers == [(n, (n - 1) // 3, True, 4 if n % 3 == 0 else 8) for n in range(1, 10)]


def test_prepare_gives_back_the_same_objects_without_a_wrapper() -> None:
    run = Session(PlainPeers())
    net = model()
    average = AveragedModel(net)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    found = run.prepare(net, average, optimizer, schedule)
    assert all(a is b for a, b in zip(found, (net, average, optimizer, schedule), strict=True))
    assert not any(name.startswith("module.") for name in net.state_dict())


def test_an_evaluation_takes_every_sample_once() -> None:
    run, net, _ = prepared()
    run.steps(data(), global_batch=8, steps=1)
    seen = []
    total, count = 0.0, 0
    for inputs, labels in run.batches(data(), batch=6):
        seen.append(len(inputs))
        total += float(summed(net, (inputs, labels)).detach())
        count += len(labels)
    assert seen == [6, 6, 6, 2]
    assert run.mean(total, count) == pytest.approx(total / 20)


@pytest.mark.parametrize("then", ["mean", "step", "end"])
def test_a_break_out_of_an_evaluation_is_told_by_its_line_at_what_comes_next(then: str) -> None:
    run, net, optimizer = prepared()

    def loop() -> None:
        for step in run.steps(data(), global_batch=8, steps=2):
            with step:
                step.backward(summed(net, step.batch))
                optimizer.step()
            for _ in run.batches(data(), batch=6):
                break  # out of it
            if then == "mean":
                run.mean(1, 1)
            if then == "end":
                break

    if then == "end":
        loop()
    with pytest.raises(SessionError, match=r"run\.batches is not at its end") as found:
        run.close(None) if then == "end" else loop()
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "break  # out of it" in text)
    assert f"test_session.py:{line}: " in found.value.cause
    assert "`continue`" in found.value.remedy


class Broken(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Any:
        raise OSError("Broken pipe")


MISTAKES: dict[str, tuple[str, str]] = {
    "mean": ("is a mean over samples", "mean=True"),
    "mean of a scaled one": ("is a mean over samples", "mean=True"),
    "mean by hand": ("is a mean over samples", "mean=True"),
    "sum said to be a mean": ("is a sum over samples", "Leave mean=True out"),
    "no scalar": ("has the shape (8,)", "loss.sum()"),
    "a number": ("is a float", "tensor"),
    "no gradient": ("depends on no parameter", "outputs"),
    "twice": ("has had its backward already", "step.parts(rows=8)"),
    "no backward": ("was left without step.backward", "break after the `with`"),
    "no with": ("was not used", "`with step:`"),
    "part without backward": ("a part of step.parts has had no backward", "each of them"),
    "mean in a step": ("run.mean in a step", "after the `with`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_can_not_be_right_is_refused_with_its_line_and_remedy(mistake: str) -> None:
    run, net, optimizer = prepared()

    def body(step: Any) -> None:
        inputs, labels = step.batch
        mean = functional.cross_entropy(net(inputs), labels)
        match mistake:
            case "mean":
                step.backward(mean)
            case "mean of a scaled one":
                step.backward(0.5 * mean / 3)
            case "mean by hand":
                step.backward(functional.cross_entropy(net(inputs), labels, reduction="none").mean())
            case "sum said to be a mean":
                step.backward(summed(net, step.batch), mean=True)
            case "no scalar":
                step.backward(functional.cross_entropy(net(inputs), labels, reduction="none"))
            case "a number":
                step.backward(float(mean.detach()))
            case "no gradient":
                step.backward(mean.detach())
            case "twice":
                step.backward(mean, mean=True)
                step.backward(functional.cross_entropy(net(inputs), labels), mean=True)
            case "part without backward":
                for _ in step.parts(rows=3):
                    pass
            case "mean in a step":
                run.mean(1, 1)

    def loop() -> None:
        for step in run.steps(data(), global_batch=8, epochs=1):
            if mistake == "no with":
                continue
            with step:
                body(step)
                optimizer.step()

    with pytest.raises(SessionError) as found:
        loop()
    cause, remedy = MISTAKES[mistake]
    assert cause in found.value.cause
    assert remedy in found.value.remedy
    assert re.match(r"(tests/trainer/api/)?test_session\.py:\d+: ", found.value.cause)  # by where the tests were begun
    assert "\n" not in str(found.value)


def test_data_that_can_not_be_trained_on_is_refused() -> None:
    for dataset, cause in (((torch.zeros(0, 2),), "no samples"), (iter([1]), "no numbers"), (None, "no numbers")):
        run, _, _ = prepared()
        with pytest.raises(SessionError, match=cause):
            run.steps(dataset, global_batch=8, epochs=1)
    run, _, _ = prepared()
    for step in run.steps(Broken(), global_batch=2, epochs=1):
        with pytest.raises(TaskError, match=r"OSError: Broken pipe"), step:  # an error of the user's, no broken group
            _ = step.batch
        break


def test_objects_without_a_state_are_refused() -> None:
    with pytest.raises(SessionError, match="number 2 is a list, which has no state_dict"):
        Session(PlainPeers()).prepare(model(), [1])


def test_what_a_broken_step_changed_is_put_back() -> None:
    run = Session(PlainPeers())
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    run.prepare(net, optimizer, schedule)
    known = run._prepared
    assert known is not None
    known.note()
    before, random = copy.deepcopy((net.state_dict(), schedule.state_dict())), torch.get_rng_state()
    net(torch.randn(4, 6).double())
    optimizer.step()
    schedule.step()
    begun = copy.deepcopy((net.state_dict(), schedule.state_dict()))
    begun_random = torch.get_rng_state()

    def same_as(states: tuple[dict[str, Any], dict[str, Any]], rate: float, random: torch.Tensor) -> None:
        for name, value in dict(net.named_buffers()).items():
            assert torch.equal(value, states[0][name]), name
        assert schedule.state_dict() == states[1]
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert torch.equal(torch.get_rng_state(), random)

    known.undo()
    same_as(before, 0.1, random)
    known.undo()
    known.redo()  # another rank had completed it
    same_as(begun, 0.01, begun_random)
    known.redo()
    same_as(begun, 0.01, begun_random)


def test_a_loss_scale_that_was_too_large_is_no_fault_of_the_training() -> None:
    run = Session(PlainPeers())
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    run.prepare(net, torch.amp.GradScaler("cpu", enabled=False), optimizer, scaler)
    known = run._prepared
    assert known is not None
    found = []
    for factor in (math.inf, 1.0, math.inf, math.inf):
        known.note()
        known.clear_gradients()
        scaler.scale(net(torch.randn(4, 6).double()).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append((scaler.get_scale(), known.scale_was_too_large()))
    assert found == [(2.0, True), (2.0, False), (1.0, True), (0.5, False)]


def test_save_writes_what_any_torch_program_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, net, optimizer = prepared()
    for step in run.steps(data(), global_batch=8, steps=2):
        with step:
            step.backward(summed(net, step.batch))
            optimizer.step()
        run.save("mine")
        for name in ("größe", "-2", "../mine", "a" * 101, ""):
            with pytest.raises(SessionError, match="is no name"):
                run.save(name)
    state = torch.load(tmp_path / "checkpoints" / "mine.pt", weights_only=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["mine.pt"]
    assert state["step"] == 2
    model().load_state_dict(state["model"])
