"""What a rehearsal teaches about steps of other batches."""

from __future__ import annotations

import pytest

from motley.profiles.cost_line import Line
from motley.profiles.predict import MOST_STRAGGLING, Candidate, learned, predict
from motley.profiles.store import LinkSpeed

GRADIENTS = 23_000_000


def devices(mbit: float) -> list[Candidate]:
    """Two hosts, 1 and 2 ms a sample."""
    lines = [Line(2.0, c, 0.0, 0.0, 0.0) for c in (1.0, 2.0)]
    links = [None, LinkSpeed(mbit=mbit, latency_ms=0.2)]
    return [
        Candidate(host=f"box{i}", device="cpu", line=line, step_line=line, link=link)
        for i, (line, link) in enumerate(zip(lines, links))
    ]


@pytest.mark.parametrize(("mbit", "step_ms", "sending_ms"), [(100.0, 3000.0, 2300.0), (10_000.0, 260.0, 40.0)])
def test_the_rehearsed_step_is_predicted_as_it_was(mbit: float, step_ms: float, sending_ms: float) -> None:
    hosts = devices(mbit)
    shares = predict(hosts, 256, GRADIENTS).shares
    together = learned(hosts, shares, GRADIENTS, step_ms, sending_ms)
    assert predict(hosts, 256, GRADIENTS, together=together).step_ms == pytest.approx(step_ms, rel=1e-6)


def test_what_sending_disturbs_does_not_grow_with_the_batch() -> None:
    """170 ms of work took 700 ms beside 2.3 s of sending: a batch of eight times the size does not take 5.6 s."""
    hosts = devices(100.0)
    small = predict(hosts, 256, GRADIENTS)
    together = learned(hosts, small.shares, GRADIENTS, 3000.0, 2300.0)
    assert together.straggling == MOST_STRAGGLING
    large = predict(hosts, 2048, GRADIENTS, together=together)
    own = predict(hosts, 2048, GRADIENTS).busy_ms
    assert large.step_ms < own * MOST_STRAGGLING + 3000.0


def test_a_slow_rank_is_late_by_a_factor() -> None:
    hosts = devices(10_000.0)
    expected = predict(hosts, 256, GRADIENTS)
    together = learned(hosts, expected.shares, GRADIENTS, expected.busy_ms * 1.1 + 40.0, 40.0)
    assert together.straggling == pytest.approx(1.1)
