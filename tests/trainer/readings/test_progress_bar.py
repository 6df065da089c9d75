"""Bars as tqdm 4.70, Lightning 2.6 and transformers 5.23 draw them, and bars of what is no training."""

from __future__ import annotations

import pytest

from motley.trainer.readings.progress_bar import Bar, read


@pytest.mark.parametrize(
    ("piece", "bar"),
    [
        ("  0%|          | 0/60 [00:00<?, ?it/s]", Bar(name="", at=0, total=60, begins=True, epoch=None, loss=None)),
        (" 32%|███▏      | 19/60 [00:06<00:12,  3.27it/s]",
         Bar(name="", at=19, total=60, begins=False, epoch=None, loss=None)),
        ("Epoch 2:  42%|████▎     | 17/40 [00:00<00:00, 30.03it/s, train_loss=0.202, val_loss=0.420] ",
         Bar(name="Epoch #", at=17, total=40, begins=False, epoch=2, loss=0.202)),
        ("training:  5%|▌| 1,200/24,000 [1:02:11<19:41:29,  3.11s/it, loss=2.3e-4, lr=1e-5]",
         Bar(name="training", at=1200, total=24000, begins=False, epoch=None, loss=2.3e-4)),
        ("Epoch 1/3: 100%|███| 8/8 [00:01<00:00,  7.9batch/s, loss=nan]",
         Bar(name="Epoch #/#", at=8, total=8, begins=False, epoch=1, loss=None, doubt="the loss is nan")),
        ("417it [00:12, 33.9it/s, loss=0.5]", Bar(name="", at=417, total=None, begins=False, epoch=None, loss=0.5)),
    ],
)  # fmt: skip
def test_a_bar_of_training_says_its_step_and_its_loss(piece: str, bar: Bar) -> None:
    assert read(piece) == bar


@pytest.mark.parametrize(
    "piece",
    [
        "Validation DataLoader 0:  10%|█         | 1/10 [00:00<00:00, 643.69it/s]",
        "Sanity Checking DataLoader 0:   0%|          | 0/2 [00:00<?, ?it/s]",
        "Loading checkpoint shards:  50%|█████     | 1/2 [00:01<00:01,  1.2s/it]",
        "Map:  30%|███       | 300/1000 [00:00<00:01, 500.00 examples/s]",
        "model.safetensors:  20%|██        | 105M/525M [00:03<00:12, 33.1MB/s]",
        "100%|██████████| 9912422/9912422 [00:00<00:00, 12.1MB/s]",
        "eval: 10%|█ | 1/10 [00:00<00:01, 9it/s, loss=0.3]",
        " 42%|████▎     | 17/40 [00:00<00:0",
        " 42%|████▎     | 17/40 [00:00<00:00, 30.03it/s] done",
        "50%| of 3/4 [it is",
        "it [is 5it [",
        "",
    ],
)
def test_what_is_no_bar_of_training_or_not_whole_says_nothing(piece: str) -> None:
    assert read(piece) is None
