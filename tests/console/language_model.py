"""What a run of a language model tells: tokens in each line, perplexity and answers after each evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

from motley.console.state.store import Store
from motley.remote.feed import FeedRecord
from motley.trainer.contract.wire import Event, Sample
from tests.console import scripted
from tests.console.scripted import START, event, sample

TOKENS = (410, 200, 102, 90)  # in a sample, by member


def with_tokens(step: int, member: int) -> Sample:
    row = sample(step, member)
    return sample(step, member, unit="tokens", units=row.batch * TOKENS[member])


def evaluated(epoch: int, *, step: int, loss: float) -> tuple[Event, Event]:
    figures = {"perplexity": math.exp(loss)}
    words = f"epoch {epoch}: loss {loss:.4f}, perplexity {math.exp(loss):.4g}"
    said = [
        {"prompt": "What is gradient accumulation?", "answer": f"Adding up gradients, says epoch {epoch}.\nOnce."},
        {"prompt": "def double(x):", "answer": "    y = x + x\n    return y"},
        {"prompt": "Why?", "answer": ""},
    ]
    return (
        event("evaluated", words, step=step, epoch=epoch, accuracy=None, loss=loss, metrics={}, figures=figures,
              seconds=1.0),
        event("answers", f"epoch {epoch}: the model has answered 3 prompts", step=step, epoch=epoch, seconds=2.0,
              answers=said),
    )  # fmt: skip


def records(steps: int = 48) -> Iterator[FeedRecord]:
    yield from (record for _, record in scripted.startup("home-1"))
    for step in range(1, steps + 1):
        yield from (with_tokens(step, member) for member in range(4))
        if step % scripted.STEPS_PER_EPOCH == 0:
            yield from evaluated(step // scripted.STEPS_PER_EPOCH, step=step, loss=3.0 - step / 100)


def store(steps: int = 48) -> Store:
    made = Store()
    made.learn(speeds=scripted.SPEEDS, epochs=10)
    for record in records(steps):
        made.apply(record, START)
    return made
