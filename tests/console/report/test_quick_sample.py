"""Lines of ranks read quickly: the same as when each is looked at closely, or left to that."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from motley.console.report import quick_sample as module
from motley.console.report.quick_sample import quick_sample
from motley.remote.experiment.records import record_of
from motley.trainer.contract.wire import encode
from tests.console.report.experiments import step

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.0, 1e38, 1e39, 1e300, -1e300, 2**62, 2**63, 2**70, "", "x", "\x1b[2J", "a‮b", [], {}, [1],
    float("nan"), float("inf"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setattr(module, "_texts", {})


def test_what_a_rank_writes_is_read_quickly() -> None:
    for number in range(1, 5):
        for sample in step(number, unit="tokens", units=3, gain=1.5 if number % 2 else None):
            assert quick_sample(encode(sample)[:-1]) == sample
    assert len(module._known) == 2


@pytest.mark.parametrize("seed", range(4))
def test_it_never_says_anything_else_than_a_close_look(seed: int) -> None:
    chance = random.Random(seed)
    (sample, _) = step(3, gain=1.5, saved_s=2.0)
    table = json.loads(encode(sample))
    for _ in range(800):
        odd = dict(table)
        for key in chance.sample(sorted(odd), chance.choice((1, 1, 2))):
            odd[key] = chance.choice((*ODD, chance.choice(list(table.values()))))
        if chance.random() < 0.1:
            odd.pop(chance.choice(sorted(odd)))
        if chance.random() < 0.1:
            odd = dict(sorted(odd.items()))
        line = json.dumps(odd).encode()
        if chance.random() < 0.05:
            line = line[: chance.randrange(len(line))]
        found = quick_sample(line)
        assert found is None or found == record_of("", "rank_0_metrics.jsonl", line)
