"""A loop of the user's own before its first step, on real ranks: who has the state there, and who evaluates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.api.sessions import running
from tests.trainer.api.test_session_groups import COMES_BACK, STEPS, WHOLE, alone, loop, same
from tests.trainer.coordinating import events, summary

pytestmark = pytest.mark.ranks

# In the first process of member 0, when the group is there: before any other rank has the state.
HANGS = """
from motley.trainer.api import run_peers
if (os.environ["MOTLEY_MEMBER"], "MOTLEY_ANEW" in os.environ) == ("0", False):
    def hangs(*_, **__):
        import time
        print("shares", flush=True)
        time.sleep(600)
    run_peers.share_prepared = hangs
"""
# Member 2 alone sees the first group break, when the others have the state and evaluate.
BREAKS = """
from motley.trainer.api import run_peers
from motley.trainer.api.ranks import GroupBroken
if os.environ["MOTLEY_MEMBER"] == "2":
    def breaks(*given, share=run_peers.share_prepared, **more):
        run_peers.share_prepared = share
        share(*given, **more)
        raise GroupBroken("another rank was lost")
    run_peers.share_prepared = breaks
"""
FOR = "for step in run.steps((data, labels), global_batch=24, steps=12):"
EVALUATES = """steps = run.steps((data, labels), global_batch=24, steps=12)
total = count = 0
for numbers, in run.batches((torch.arange(64),), batch=4):
    total += int(numbers.sum())
    count += len(numbers)
print("mean", run.mean(total, count), flush=True)
for step in steps:"""


@pytest.mark.parametrize("evaluates", [False, True])
async def test_a_rank_that_is_killed_with_the_only_state_of_a_resumed_run_brings_it_again(
    tmp_path: Path, evaluates: bool
) -> None:
    async with running(tmp_path / "first", loop().replace("steps=12", "steps=6"), members=1) as run:
        assert await run.codes() == [0], run.errors()
    resume = str(run.home(0) / "checkpoints")
    script = loop(WHOLE).replace("import motley\n", f"import motley\n{HANGS}")
    script = script.replace(FOR, EVALUATES) if evaluates else script
    async with running(tmp_path / "second", script, members=3, resume=resume) as run:
        await run.line(0, "shares")
        run.kill(0)
        run.ranks[0].join()
        run.start(0, anew=True)
        assert await run.codes() == [0, 0, 0], run.errors()
    weights, rate = alone()
    for member in range(3):
        told = run.told(member)
        assert told["attempts"] == [[number, True] for number in range(7, STEPS + 1)]
        assert same(told["weights"], weights)
        assert told["rate"] == pytest.approx(rate)
        assert run.said(member, "mean") == ([f"mean {sum(range(64)) / 64}"] if evaluates else [])
    table = summary(run.home(0))
    assert (table["state"], table["steps"]) == ("finished", STEPS)
    (report,) = events(run.home(0), "report")
    assert (report["data"]["step"], report["data"]["steps_total"]) == (6, STEPS)


async def test_one_that_comes_to_a_run_under_way_evaluates_nothing_before_its_first_step(tmp_path: Path) -> None:
    async with running(tmp_path, loop(COMES_BACK).replace(FOR, EVALUATES), members=2) as run:
        await run.line(1, "waits")
        run.kill(1)
        await run.line(0, "step 6")
        run.ranks[1].join()
        run.start(1, anew=True)
        assert await run.codes() == [0, 0], run.errors()
    assert run.said(0, "mean") == [f"mean {sum(range(64)) / 64}"]
    assert run.said(1, "mean") == ["mean nan"]
    assert all(same(run.told(member)["weights"], alone()[0]) for member in range(2))
    assert run.told(1)["attempts"][0][0] > 6


async def test_one_that_gets_the_state_later_than_others_leaves_the_evaluation_to_them(tmp_path: Path) -> None:
    script = loop(WHOLE).replace("import motley\n", f"import motley\n{BREAKS}").replace(FOR, EVALUATES)
    async with running(tmp_path, script, members=3) as run:
        assert await run.codes() == [0, 0, 0], run.errors()
    assert [run.said(member, "mean") for member in range(3)] == [[f"mean {sum(range(64)) / 64}"]] * 2 + [["mean nan"]]
    for member in range(3):
        assert run.told(member)["attempts"] == [[number, True] for number in range(1, STEPS + 1)]
        assert same(run.told(member)["weights"], alone()[0])
