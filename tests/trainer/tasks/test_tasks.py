"""Tasks: their names, the batches they give and what they learn."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import DATASETS, MODELS
from motley.trainer.errors import TaskError
from motley.trainer.tasks import load, models, names
from motley.trainer.tasks.images import ImageData, ImageSet, augmented
from motley.trainer.tasks.vision import ImageTask
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.written_out import WrittenOut


def quiet(text: str, fraction: float | None) -> None:
    """A note nobody reads."""


def task_of(name: str, **options: Any) -> WrittenOut:
    run = dataclasses.replace(RunOptions(task=name), **options)
    return WrittenOut(load(run, DataOptions(), quiet), seed=run.seed)


def picture_task(seed: int = 0) -> WrittenOut:
    """Forty pictures of 3 x 12 x 12 in memory, with all augmentation on."""
    images = torch.arange(40 * 3 * 12 * 12).mul(37).remainder(256).to(torch.uint8).reshape(40, 3, 12, 12)
    pictures = ImageSet(images, torch.arange(40) % 10)
    data = ImageData(
        train=pictures,
        test=pictures,
        classes=10,
        channels=3,
        size=12,
        mean=(120.0, 125.0, 130.0),
        std=(60.0, 61.0, 62.0),
        shift=4,
        flip=True,
    )
    task = ImageTask(name="simple_cnn/forty", model_name="simple_cnn", data=data, norm="batch", seed=seed)
    return WrittenOut(task, seed=seed)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        (
            "simple_cn/digits",
            "no model 'simple_cn' (there are simple_cnn, mlp, resnet18, resnet50); did you mean 'simple_cnn'?",
        ),
        ("resnet18/cifar", "no data set 'cifar' (there are digits, fashion_mnist, cifar10, cifar100, synthetic_image,"),
        ("resnet18/cifar", "did you mean 'cifar10'?"),
        ("digits", "neither of the form model/dataset, for example simple_cnn/digits (models: simple_cnn, mlp,"),
        ("resnet18/cifar10/x", "no data set 'cifar10/x'"),
    ],
)
def test_a_wrong_name_says_what_there_is_and_what_is_near(name: str, cause: str) -> None:
    with pytest.raises(TaskError) as caught:
        task_of(name)
    assert cause in str(caught.value)


def test_every_name_has_a_model_behind_it() -> None:
    assert tuple(models.BUILDERS) == MODELS
    assert len(set(names())) == len(MODELS) * len(DATASETS) == 24


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys; from motley.trainer.contract.task_name import parse\n"
        "parse('resnet50/digits'); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout == "False\n"


def test_a_sample_looks_the_same_whoever_draws_it() -> None:
    task = picture_task()
    ids = torch.tensor([7, 3, 3, 39, 0])
    images, labels = task.train_batch(ids, epoch=2)
    assert (images.dtype, images.shape, labels.tolist()) == (torch.float32, (5, 3, 12, 12), [7, 3, 3, 9, 0])
    for parts in ([[7, 3, 3], [39, 0]], [[7], [3], [3], [39], [0]], [[7, 3, 3, 39, 0], []]):
        drawn = [task.train_batch(torch.tensor(part, dtype=torch.int64), epoch=2) for part in parts]
        assert torch.equal(torch.cat([x for x, _ in drawn]), images)
        assert torch.equal(torch.cat([y for _, y in drawn]), labels)


def test_augmentation_changes_with_epoch_and_seed_and_leaves_tests_alone() -> None:
    ids = torch.arange(40)
    first, _ = picture_task().train_batch(ids, epoch=0)
    assert not torch.equal(first, picture_task().train_batch(ids, epoch=1)[0])
    assert not torch.equal(first, picture_task(seed=1).train_batch(ids, epoch=0)[0])
    task = picture_task()
    images, labels = task.test_batch(30, 99)
    assert labels.tolist() == list(range(10))
    channel = (task.task.test_data().take(torch.tensor([30]))[0][0, 1].float() - 125.0) / 61.0
    assert torch.equal(images[0, 1], channel)


@settings(max_examples=30)
@given(bits=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), shift=st.integers(0, 3), flip=st.booleans())
def test_augmented_pictures_are_moved_and_mirrored_as_their_bits_say(bits: list[int], shift: int, flip: bool) -> None:
    """Against the same written plainly, picture by picture."""
    images = torch.arange(len(bits) * 2 * 5 * 4).remainder(251).add(1).to(torch.uint8).reshape(len(bits), 2, 5, 4)
    result = augmented(images, torch.tensor(bits, dtype=torch.int64), shift=shift, flip=flip)
    for image, moved, b in zip(images, result, bits, strict=True):
        down = (b >> 8 & 0xFFFFFF) % (2 * shift + 1) - shift
        right = (b >> 32 & 0xFFFFFF) % (2 * shift + 1) - shift
        expected = torch.zeros_like(image)
        for y in range(5):
            for x in range(4):
                if 0 <= y + down < 5 and 0 <= x + right < 4:
                    expected[:, y, x] = image[:, y + down, x + right]
        assert torch.equal(moved, expected.flip(2) if flip and b & 1 else expected)


def test_loss_and_correct_are_sums_over_the_samples() -> None:
    task = picture_task()
    outputs = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    targets = torch.tensor([0, 1, 1])
    expected = sum(math.log(1 + math.exp(-margin)) for margin in (2.0, 3.0, -1.0))
    assert float(task.loss_sum(outputs, targets)) == pytest.approx(expected, rel=1e-6)
    assert int(task.correct(outputs, targets)) == 2


def accuracy(task: WrittenOut, model: torch.nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        images, labels = task.test_batch(0, task.test_size)
        right = int(task.correct(model(images), labels))
    model.train()
    return right / task.test_size


def training(task: WrittenOut, *, global_batch: int, steps: int) -> Iterator[torch.nn.Module]:
    """The model after each step, as the loop does it: SGD with momentum, cosine schedule."""
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    batches = BatchSampler(count=task.train_size, global_batch=global_batch, seed=0)
    for step in range(steps):
        inputs, targets = task.train_batch(batches.ids(step, (1,), 0), batches.place(step).epoch)
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_sum(model(inputs), targets) / len(targets))
        optimizer.step()
        schedule.step()
        yield model


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_digits_pass_95_percent_within_ten_epochs(norm: str) -> None:
    """It is over with the first epoch after which they do."""
    task = task_of("simple_cnn/digits", norm=norm)
    assert (task.train_size, task.test_size) == (1500, 297)
    models = training(task, global_batch=256, steps=60)
    assert any(accuracy(task, model) > 0.95 for model in itertools.islice(models, 5, None, 6))


def test_synthetic_pictures_can_be_learned() -> None:
    task = task_of("simple_cnn/synthetic_image", num_samples=640)
    assert (task.train_size, task.test_size) == (640, 160)
    *_, model = training(task, global_batch=32, steps=20)
    assert accuracy(task, model) > 0.7


def test_a_synthetic_picture_depends_on_seed_and_sample_alone() -> None:
    task = task_of("simple_cnn/synthetic_image", num_samples=10**9)
    images, labels = task.train_batch(torch.tensor([5, 999_999_999]), epoch=0)
    assert images.shape == (2, 3, 32, 32)
    alone, label = task.train_batch(torch.tensor([999_999_999]), epoch=4)
    assert torch.equal(alone[0], images[1])
    assert label[0] == labels[1]
    other, _ = task_of("simple_cnn/synthetic_image", seed=1).train_batch(torch.tensor([5]), epoch=0)
    assert not torch.equal(other[0], images[0])
    test, _ = task.test_batch(5, 6)
    assert not torch.equal(test[0], images[0])
