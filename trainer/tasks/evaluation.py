"""What the test data says of a model: its loss and the task's metrics.

>>> Evaluation(loss=0.0221, metrics={"accuracy": 0.9933}).told()
'accuracy 99.33%, loss 0.0221'
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Means over the test data."""

    loss: float
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """0 to 1; None where the task has no metric of that name."""
        return self.metrics.get("accuracy")

    @property
    def score(self) -> float:
        """The higher the better, above 0 and below 1: the accuracy, without one a figure that falls as the loss
        rises."""
        if self.accuracy is not None:
            return self.accuracy
        return 0.5 - math.atan(self.loss) / math.pi if math.isfinite(self.loss) else 0.0

    def told(self) -> str:
        """
        >>> Evaluation(loss=0.0221, metrics={"accuracy": 0.9933, "top5": 1.0}).told()
        'accuracy 99.33%, loss 0.0221, top5 1'
        """
        words = [f"accuracy {self.accuracy:.2%}"] if self.accuracy is not None else []
        words.append(f"loss {self.loss:.4f}")
        return ", ".join(words + [f"{name} {value:.4g}" for name, value in self.metrics.items() if name != "accuracy"])

    def figures(self) -> dict[str, float]:
        """As `summary.json` has it."""
        return {**self.metrics, "loss": self.loss}
