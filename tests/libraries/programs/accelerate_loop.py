"""A loop of one's own with accelerate, which logs to our tracker."""

from __future__ import annotations

import torch
from accelerate import Accelerator

import motley


def main() -> None:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, log_with=motley.AccelerateTracker())
    accelerator.init_trackers("night")
    model = torch.nn.Linear(8, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05))
    for step in range(1, 41):
        x = torch.randn(16, 8)
        loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"train/loss": loss.item(), "learning_rate": 0.05}, step=step)
    accelerator.wait_for_everyone()  # or the group is torn down while the other rank still uses it
    accelerator.end_training()


if __name__ == "__main__":
    main()
