"""The loss scale of fp16: gradients that are too small for the format are computed as multiples of themselves.

Dynamic, after Micikevicius et al. 2018, section 3.2, with the constants of torch's GradScaler: halved when a gradient
is not finite, doubled after 2,000 steps without that. A step whose gradient is not finite is skipped.

It looks at the gradient that all ranks have added up, which is the same on each, bit for bit: so all come to the same
scale, and skip the same steps, without a word. (Ranks that train apart have each their own until they average.)

    >>> scaler = LossScaler()
    >>> loss_sum = passes.run(batch, scale=scaler.scale / 256)
    >>> if scaler.unscale(parameters):
    ...     optimizer.step()
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

FIRST = 65536.0
LEAST = 1.0  # a gradient that is not finite here was not so for its scale
GROWS_AFTER = 2000  # steps


def next_scale(scale: float, good: int, *, finite: bool) -> tuple[float, int]:
    """The scale, and the steps since it changed, after one more.

    >>> next_scale(1024.0, 1999, finite=True), next_scale(1024.0, 7, finite=False)
    ((2048.0, 0), (512.0, 0))
    """
    if not finite:
        return max(LEAST, scale / 2), 0
    return (scale * 2, 0) if good + 1 >= GROWS_AFTER else (scale, good + 1)


class LossScaler:
    """`skipped`: the newest step was, as its gradient was too large for the scale: no fault of the training."""

    def __init__(self) -> None:
        self.figures = torch.tensor([FIRST, 0.0], dtype=torch.float64)  # scale, good steps: a tensor as ranks share it
        self.skipped = False

    @property
    def scale(self) -> float:
        """A power of two, so nothing is rounded by it."""
        return float(self.figures[0])

    @torch.no_grad()
    def unscale(self, parameters: Iterable[Tensor]) -> bool:
        """Divide the gradients by the scale, and note how the step went. False: not all are finite, skip it."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        scale, good = self.figures.tolist()
        torch._foreach_mul_(gradients, 1 / scale)
        finite = bool(torch.nn.utils.get_total_norm(gradients).isfinite())
        self.skipped = not finite and scale > LEAST
        self.figures.copy_(torch.tensor(next_scale(scale, int(good), finite=finite), dtype=torch.float64))
        return finite

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        scale, good = self.figures.tolist()
        return {"scale": scale, "good_steps": good}

    def load(self, state: dict[str, float]) -> None:
        self.figures.copy_(torch.tensor([state["scale"], state["good_steps"]], dtype=torch.float64))
