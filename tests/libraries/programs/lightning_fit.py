"""A line fitted by Lightning's Trainer, 2 epochs of 40 steps; with `report` its steps go by our callback alone."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch.utils.data import DataLoader, TensorDataset


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002 - as Lightning calls it
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def main() -> None:
    torch.manual_seed(0)
    x = torch.randn(2560, 8)
    data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=32)
    reports = "report" in sys.argv
    callbacks: list[Any] = []
    if reports:
        import motley

        callbacks.append(motley.LightningCallback())
    else:
        callbacks.append(TQDMProgressBar())
    trainer = Trainer(
        accelerator="cpu", devices=int(os.environ["LOCAL_WORLD_SIZE"]), num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
        max_epochs=2, logger=False, enable_checkpointing=False, enable_model_summary=False, callbacks=callbacks,
        enable_progress_bar=not reports,
    )  # fmt: skip
    trainer.fit(Line(), data)


if __name__ == "__main__":
    main()
