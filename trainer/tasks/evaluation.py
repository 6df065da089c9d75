"""What the test data says of a model: its loss, what follows from that, and the task's metrics.

>>> Evaluation(loss=0.0221, metrics={"accuracy": 0.9933}).told()
'accuracy 99.33%, loss 0.0221'
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ANSWERS, CHARACTERS = 8, 2000  # of one evaluation; of a prompt and of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Means over the test data."""

    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    follows: dict[str, float] = field(default_factory=dict)  # from the loss: `Task.figures`

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
        >>> Evaluation(loss=2.71, follows={"perplexity": 15.03}).told()
        'loss 2.7100, perplexity 15.03'
        >>> Evaluation(loss=12.368, follows={"perplexity": 235159.4}).told()
        'loss 12.3680, perplexity 235,159'
        """
        words = [f"accuracy {self.accuracy:.2%}"] if self.accuracy is not None else []
        words.append(f"loss {self.loss:.4f}")
        others = {**self.follows, **self.metrics}
        return ", ".join(words + [f"{name} {_figure(value)}" for name, value in others.items() if name != "accuracy"])

    def figures(self) -> dict[str, float]:
        """As `summary.json` has it."""
        return {**self.follows, **self.metrics, "loss": self.loss}


def figures_of(told: Mapping[str, float]) -> dict[str, float]:
    """What a task says follows from the loss, by name. Raises TypeError or ValueError for what is no figure.

    >>> figures_of({"perplexity": 15.03})
    {'perplexity': 15.03}
    """
    return {str(name)[:40]: float(value) for name, value in told.items() if name not in ("loss", "accuracy")}


def answers_of(told: Iterable[Any]) -> list[tuple[str, str]]:
    """Prompts and what the model said to them, in bounds. Raises TypeError or ValueError where they are no pairs.

    >>> answers_of([("What is a rank?", "A process of a group."), ("Why?", "")])
    [('What is a rank?', 'A process of a group.'), ('Why?', '')]
    """
    found = []
    for pair in list(told)[:ANSWERS]:
        if isinstance(pair, str):
            raise TypeError("no pair of a prompt and an answer")
        prompt, answer = pair
        found.append((_bounded(str(prompt)), _bounded(str(answer))))
    return found


def _figure(value: float) -> str:
    """Four digits that count, as the console has it."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _bounded(text: str) -> str:
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…"
