"""When a larger global batch is advised for GPUs that have time and room: over windows with a clock of their own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.gpu_advice import EVIDENCE_S, Card, GpuAdviser, larger_batch, words
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.host.journal import Journal

TWO = (("desktop", "cuda:0"), ("laptop", "cpu"))
GPUS = (("desktop", "cuda:0"), ("desktop", "cuda:1"))


def card(busy: float, full: float, name: str = "cuda:0 of desktop") -> Card:
    return Card(name=name, busy=busy, full=full)


@pytest.mark.parametrize(
    ("cards", "total", "room", "batch"),
    [
        ([card(45, 0.3)], 512, None, 1024),
        ([card(45, 0.2)], 512, None, 2048),
        ([card(45, 0.01)], 512, None, 2048),  # never more than four times
        ([card(45, 0.0)], 512, None, 2048),
        ([card(45, 0.41)], 512, None, None),  # no room for twice as much
        ([card(60, 0.1)], 512, None, None),  # no time
        ([card(45, 0.1), card(70, 0.1)], 512, None, None),
        ([card(45, 0.1), card(30, 0.39)], 512, None, 1024),  # what the fullest one can take
        ([card(45, 0.1)], 512, 1500, 1024),  # max_batch of all
        ([card(45, 0.1)], 512, 1000, None),
        ([], 512, None, None),
    ],
)
def test_what_would_use_them(cards: list[Card], total: int, room: int | None, batch: int | None) -> None:
    assert larger_batch(cards, total, room=room) == batch


def test_the_words() -> None:
    assert words([card(45.2, 0.301)], 1024) == (
        "cuda:0 of desktop is 45 % busy, 30 % full: a global batch of 1,024 would use it; it changes what is learned"
    )
    assert words([card(45, 0.1), card(30, 0.3)], 64).startswith("the 2 GPUs are at most 45 % busy, 30 % full: ")


class Watched:
    """A group whose windows take some seconds each."""

    def __init__(self, folder: Path, places: tuple[tuple[str, str], ...], cap: int | None = None) -> None:
        self.now = 0.0
        self.members = [
            Member(member=n, host=host, local_rank=n, device=device, max_batch=cap)
            for n, (host, device) in enumerate(places)
        ]
        self.folder = folder
        self.journal = Journal(folder, host="desktop", source="rank 0", clock=lambda: self.now)
        self.adviser = GpuAdviser(self.members, 512, self.journal, clock=lambda: self.now)

    def windows(self, seconds: float, *figures: tuple[float, float], each_s: float = 5.0) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += each_s
            self.adviser.look([[MeasuredStep(256, 1.0, 50.0, 60.0, 0, *one)] * 5 for one in figures])

    @property
    def said(self) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


NOTHING = (math.nan, math.nan)


def test_it_is_said_once_after_a_minute(tmp_path: Path) -> None:
    watched = Watched(tmp_path, TWO)
    watched.windows(EVIDENCE_S, (45.0, 0.3), NOTHING)
    assert watched.said == []
    watched.windows(600, (45.0, 0.3), NOTHING)
    (event,) = watched.said
    assert event["kind"] == "advice"
    assert event["data"] == {"global_batch": 1024, "busy": 45.0, "full": 0.3}
    assert "a global batch of 1,024 would use it" in event["text"]


def test_a_gpu_that_was_busy_for_most_of_the_minute_is_not_idle(tmp_path: Path) -> None:
    watched = Watched(tmp_path, TWO)
    for _ in range(20):
        watched.windows(35, (95.0, 0.3), NOTHING)
        watched.windows(20, (5.0, 0.3), NOTHING)  # as when checkpoints are written
    assert watched.said == []
    watched.windows(90, (5.0, 0.3), NOTHING)
    assert len(watched.said) == 1


@pytest.mark.parametrize(
    ("places", "figures"),
    [
        (TWO, ((math.nan, 0.3), NOTHING)),  # a card of another maker, or a driver that does not say
        (GPUS, ((45.0, 0.3), (math.nan, 0.3))),
        (GPUS, ((45.0, 0.3), (45.0, 0.9))),
        ((("a", "cpu"), ("b", "cpu")), (NOTHING, NOTHING)),
    ],
)
def test_nothing_is_said_where_a_gpu_says_nothing_or_is_used(
    tmp_path: Path, places: tuple[tuple[str, str], ...], figures: tuple[tuple[float, float], ...]
) -> None:
    watched = Watched(tmp_path, places)
    watched.windows(600, *figures)
    assert watched.said == []


def test_windows_that_are_long_need_four(tmp_path: Path) -> None:
    watched = Watched(tmp_path, TWO)
    watched.windows(120, (45.0, 0.3), NOTHING, each_s=40.0)
    assert watched.said == []
    watched.windows(40, (45.0, 0.3), NOTHING, each_s=40.0)
    assert len(watched.said) == 1


def test_the_balancer_hands_on_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, TWO)
    balancer = Balancer(BalanceOptions(policy="static"), watched.members, (256, 256), watched.journal)
    monkeypatch.setattr("motley.trainer.balance.gpu_advice.EVIDENCE_S", 0.0)
    for step in range(5, 60, 5):
        rows = [[MeasuredStep(256, 1.0, 50.0, 60.0, 0, *one)] * 5 for one in ((45.0, 0.3), NOTHING)]
        assert balancer.decide(step, rows, (256, 256)) == (256, 256)
    assert [event["data"]["global_batch"] for event in watched.said] == [1024]
