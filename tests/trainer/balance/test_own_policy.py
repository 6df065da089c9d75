"""A balancing policy of the user's own: what it is asked, what is checked of its answer, and that it ends no run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.profiles.cost import CostModel
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.balance.own_policy import Cost, Policy, WrongShares, checked, load_policy
from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.errors import TaskError
from motley.trainer.host.journal import Journal

MEMBERS = [Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(2)]
LINES = [(2.0, 1.0), (2.0, 3.0)]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rank is a process of its own; here the next test wants another mine.py."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def policy(home: Path, text: str, name: str = "shares") -> Policy:
    """From a file mine.py in the folder `rules` of a project on this host."""
    folder = home / ".motley/code/8f5a/rules"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.py").write_text(text)
    return load_policy(OwnPolicy(tree="8f5a", file="rules/mine.py", name=name), "mine.py")


class Run:
    """A balancer with such a policy, and two ranks whose steps take exactly `a + c b`."""

    def __init__(self, folder: Path, own: Policy, members: Sequence[Member] = MEMBERS) -> None:
        self.folder, self.step = folder, 0
        self.shares: tuple[int, ...] = (64, 64)
        journal = Journal(folder, host="box0", source="rank 0")
        self.balancer = Balancer(BalanceOptions(policy="mine.py"), members, self.shares, journal, own=own)

    def windows(self, count: int) -> Run:
        for _ in range(count):
            steps = [MeasuredStep(b, 1.0, a + c * b, 200.0) for b, (a, c) in zip(self.shares, LINES)]
            self.step += 5
            self.shares = self.balancer.decide(self.step, [[step] * 5 for step in steps], self.shares)
        return self

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [event for event in events if event["kind"] == kind]


BY_SPEED = """
def shares(costs, global_batch, now):
    speeds = [1 / cost.ms_per_sample for cost in costs]
    first = round(global_batch * speeds[0] / sum(speeds))
    return [first, global_batch - first]
"""


def test_its_shares_hold_and_are_told_with_what_they_are_expected_to_take(tmp_path: Path, home: Path) -> None:
    run = Run(tmp_path, policy(home, BY_SPEED)).windows(4)
    assert 90 <= run.shares[0] <= 100
    first = run.events("decision")[0]
    assert "mine.py says so" in first["text"]
    assert first["data"]["before"] == [64, 64]
    assert first["data"]["predicted_ms"] < first["data"]["current_ms"]
    assert run.events("realised")
    assert run.events("policy") == []


def test_it_is_asked_what_the_balancer_knows(tmp_path: Path, home: Path) -> None:
    text = """
seen = []

def split(costs, global_batch, now):
    seen.append((costs, global_batch, now))
    return now
"""
    own = policy(home, text, name="split")
    Run(tmp_path, own, [replace(MEMBERS[0], max_batch=70), MEMBERS[1]]).windows(2)
    costs, global_batch, now = sys.modules["mine"].seen[-1]
    assert (global_batch, now) == (128, (64, 64))
    assert [(c.host, c.device, c.max_batch) for c in costs] == [("box0", "cpu", 70), ("box1", "cpu", None)]
    assert costs[1].ms(64) == pytest.approx(194.0, rel=0.02)
    assert costs[0].fixed_ms + 64 * costs[0].ms_per_sample == pytest.approx(66.0, rel=0.02)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [100]", "rules/mine.py:1: it gave 1 shares for 2 ranks"),
        ("return [65, 64]", "rules/mine.py:1: its shares add up to 129, the global batch is 128"),
        ("return [60, -2]", "rules/mine.py:1: it gave box1 -2 samples, wanted is a whole number from 0 on"),
        ("return [64.0, 64.0]", "rules/mine.py:1: it gave box0 64.0 samples, wanted is a whole number from 0 on"),
        ("return [100, 28]", "rules/mine.py:1: it gave box0 100 samples, its max_batch is 70"),
        ("return None", "rules/mine.py:1: it gave None, wanted are 2 whole numbers"),
        ("\n    return 1 / 0", "rules/mine.py:3: ZeroDivisionError: division by zero"),
        ("\n    raise SystemExit('enough')", "rules/mine.py:3: SystemExit: enough"),
        ("\n    yield 1\n    raise KeyError('box9')", "rules/mine.py:4: KeyError: 'box9'"),
    ],
)
def test_what_can_t_be_is_told_once_with_its_line_and_the_shares_stay(
    tmp_path: Path, home: Path, body: str, said: str
) -> None:
    own = policy(home, f"def shares(costs, global_batch, now):\n    {body}\n".replace("    \n", "    pass\n"))
    members = [replace(MEMBERS[0], max_batch=70), MEMBERS[1]]
    run = Run(tmp_path, own, members).windows(4)
    assert run.shares == (64, 64)
    (event,) = run.events("policy")
    assert event["text"] == f"{said}; the shares stay as they are"
    assert event["level"] == "warning"
    Run(tmp_path, own, members).windows(2)  # of a group that follows
    assert len(run.events("policy")) == 1


def test_figures_that_differ_each_time_are_no_other_mistake_and_another_mistake_is_told(
    tmp_path: Path, home: Path
) -> None:
    text = """
calls = []

def shares(costs, global_batch, now):
    calls.append(0)
    if len(calls) > 3:
        raise ValueError(f"call {len(calls)}")
    return [global_batch, len(calls)]
"""
    run = Run(tmp_path, policy(home, text)).windows(8)
    said = [event["text"] for event in run.events("policy")]
    assert [text.partition(";")[0] for text in said] == [
        "rules/mine.py:4: its shares add up to 129, the global batch is 128", "rules/mine.py:7: ValueError: call 4",
    ]  # fmt: skip


def test_the_example_of_the_page_gives_shares_that_hold(home: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/own-policy.md").read_text()
    own = policy(home, page.partition("```python\n")[2].partition("```")[0])
    for caps in ((None, None, None), (9, None, None), (None, 1, None)):
        costs = [
            Cost(host=f"box{i}", device="cpu", fixed_ms=2.0, ms_per_sample=ms, max_batch=cap)
            for i, (ms, cap) in enumerate(zip((1.0, 3.0, 40.0), caps))
        ]
        for batch in (7, 64, 128):
            given = own._function(costs, batch, (batch, 0, 0))
            assert max(checked(given, batch, ["box"] * 3, caps)) <= -(-batch // 2) + 1


def test_whole_numbers_of_any_kind_are_shares() -> None:
    class Whole:
        def __index__(self) -> int:
            return 28

    assert checked(iter([100, Whole()]), 128, ["box0", "box1"], [None, None]) == (100, 28)
    for given in ("ab", [True, 127], 3):
        with pytest.raises(WrongShares):
            checked(given, 128, ["box0", "box1"], [None, None])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_to_be_found\n", "[balance] policy: rules/mine.py:1: ModuleNotFoundError: No module named"),
        ("def shares(:\n", "[balance] policy: rules/mine.py:1: SyntaxError"),
        ("import sys\nsys.exit('no')\n", "[balance] policy: rules/mine.py:2: SystemExit: no"),
        ("share = 3\n", "[balance] policy: mine.py has no function shares. def shares(costs, global_batch, now): …"),
        ("shares = 3\n", "[balance] policy: mine.py has no function shares"),
    ],
)
def test_a_file_that_does_not_do_is_refused_before_the_first_step(home: Path, text: str, said: str) -> None:
    with pytest.raises(TaskError) as caught:
        policy(home, text)
    assert str(caught.value).startswith(said)


def test_the_name_of_a_module_that_is_taken_is_told(home: Path) -> None:
    folder = home / ".motley/code/8f5a"
    folder.mkdir(parents=True)
    (folder / "json.py").write_text("def shares(*_): ...\n")
    with pytest.raises(TaskError, match=r"json\.py: Python has another module json already"):
        load_policy(OwnPolicy(tree="8f5a", file="json.py"), "json.py")


def test_nothing_is_asked_before_every_rank_is_known(tmp_path: Path, home: Path) -> None:
    own = policy(home, "def shares(costs, global_batch, now):\n    raise AssertionError\n")
    run = Run(tmp_path, own)
    run.balancer._models[1] = CostModel()
    step = MeasuredStep(64, 1.0, 66.0, 200.0)
    assert run.balancer.decide(5, [[step] * 5, [replace(step, busy_ms=float("nan"))] * 5], (64, 64)) == (64, 64)
    assert run.events("policy") == []
