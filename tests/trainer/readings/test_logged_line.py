"""Lines in which scripts tell their loss, and lines that only look like it."""

from __future__ import annotations

import pytest

from motley.trainer.readings.logged_line import said
from motley.trainer.readings.said import Said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{'loss': '4.163', 'grad_norm': '0.06812', 'learning_rate': '4.25e-05', 'epoch': '0.1'}",
         Said(loss=4.163, epoch=0.1)),
        ("{'loss': 4.163, 'learning_rate': 4.25e-05, 'epoch': 0.1}", Said(loss=4.163, epoch=0.1)),
        ('{"step": 10, "loss": 0.5, "val_loss": 0.7}', Said(step=10, loss=0.5)),
        ("step 0: train loss 10.9, val loss 10.8", Said(step=0, loss=10.9)),
        ("iter 100: loss 2.3106, time 12.33ms, mfu 1.20%", Said(step=100, loss=2.3106)),
        ("Step: 1,200/10,000 | Loss: 2.31e-02", Said(step=1200, total=10000, loss=0.0231)),
        ("[2026-11-23 10:00:00] INFO global_step=7 train/loss=.5", Said(step=7, loss=0.5)),
        ("Epoch 3, Iteration 40 of 90, Training_Loss = 1", Said(step=40, total=90, epoch=3, loss=1.0)),
        ("Epoch [2/10], Step [100/600], Loss: 0.2231", Said(step=100, total=600, epoch=2, epochs=10, loss=0.2231)),
    ],
)  # fmt: skip
def test_a_line_says_its_step_and_its_loss(line: str, told: Said) -> None:
    assert said(line) == told


@pytest.mark.parametrize(
    "line",
    [
        "{'eval_loss': '4.166', 'eval_runtime': '0.4564', 'epoch': '0.6'}",
        "{'train_runtime': '19.28', 'train_samples_per_second': '12.45', 'train_loss': '4.164', 'epoch': '0.6'}",
        "step 100 losses 0.5",
        "test loss: 0.31",
        "best loss 0.2 at epoch 3",
        "step 100 took 3 s",
        "the loss of a host costs no step",
        "loss",
        "",
    ],
)
def test_figures_of_evaluations_and_sentences_say_nothing(line: str) -> None:
    assert said(line) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("step 3: loss nan", "the loss is nan"),
        ("step 3: loss: inf", "the loss is inf"),
        ("step 3: loss 1e999", "the loss is 1e999"),
        ("step 3: loss=-Infinity", "the loss is -Infinity"),
        ("step 3: loss 0.5 (train loss 0.7)", "two figures in one line are called loss"),
    ],
)
def test_a_loss_that_can_t_be_believed_is_doubted_with_its_reason(line: str, why: str) -> None:
    told = said(line)
    assert told is not None
    assert (told.step, told.loss, told.doubt) == (3, None, why)


def test_the_same_figure_twice_is_one() -> None:
    assert said("loss 0.5 | train_loss 0.5") == Said(loss=0.5)
