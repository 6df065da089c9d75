"""A loop of the user's own whose dataset is not the same on all hosts, on real ranks: told with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.trainer.api.sessions import Run, running
from tests.trainer.coordinating import events, summary

pytestmark = pytest.mark.ranks

LOOP = """
import os, time
import torch
import motley

torch.manual_seed(3)
data = torch.randn(64, 6)
other = os.environ["MOTLEY_MEMBER"] == "1" WHEN
if other:
    CHANGE
run = motley.session()
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run.prepare(model, optimizer)
before = torch.get_rng_state()
steps = run.steps((data,), global_batch=16, steps=STEPS)
assert torch.equal(torch.get_rng_state(), before)  # looking at samples draws nothing from it
for step in steps:
    with step:
        print("step", step.number, flush=True)
        if step.number == 4 and STEPS > 4:
            while not (IS_REFUSED):
                time.sleep(0.01)
        (x,) = step.batch
        step.backward(model(x).sum())
        optimizer.step()
"""
SAME = "Give all hosts the same: [data] push does"


def loop(change: str, *, when: str = "", steps: int = 3, refused: str = "True") -> str:
    text = LOOP.replace("CHANGE", change).replace("WHEN", when).replace("STEPS", str(steps))
    return text.replace("IS_REFUSED", refused)


def line_of(run: Run, words: str) -> int:
    return next(n for n, text in enumerate(run.script.read_text().splitlines(), 1) if words in text)


@pytest.mark.parametrize(
    ("change", "than"),
    [
        ("data = data[:60]", r"6[04] samples, not 6[04]"),
        ("data[:, 0] = 0.0", r"8 of its 64 samples have the hash \w{8}, not \w{8}"),
    ],
)
async def test_other_data_ends_the_run_before_its_first_step(tmp_path: Path, change: str, than: str) -> None:
    async with running(tmp_path, loop(change), members=2) as run:
        codes = await run.codes()
        assert 0 not in codes
    cause = summary(run.home(0))["cause"]
    at = line_of(run, "run.steps(")
    named = rf"train\.py:{at}: rank \d on box\d has other training data than rank \d on box\d: {than}\. "
    assert re.fullmatch(named + re.escape(SAME), cause), cause
    for member in range(2):
        assert run.lines(member, "err")[-1].endswith(cause)
        assert not run.said(member, "step")


async def test_samples_that_differ_slightly_are_a_warning(tmp_path: Path) -> None:
    async with running(tmp_path, loop("data = data + 1e-4"), members=2) as run:
        assert await run.codes() == [0, 0], run.errors()
    (note,) = [one for one in events(run.home(0), "note") if "slightly otherwise" in one["text"]]
    assert note["level"] == "warning"
    assert note["text"].startswith(f"train.py:{line_of(run, 'run.steps(')}: rank ")


async def test_one_that_comes_later_with_other_data_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    told = """open(os.environ["MOTLEY_DIR"] + "/events.jsonl").read()"""
    refused = f"""os.environ["MOTLEY_MEMBER"] == "1" or "has other training data" in {told}"""
    script = loop("data = data[:60]", when='and "MOTLEY_ANEW" in os.environ', steps=8, refused=refused)
    async with running(tmp_path, script, members=2) as run:
        await run.line(1, "step 2")
        run.kill(1)
        run.ranks[1].join()
        run.start(1, anew=True)
        codes = await run.codes()
        assert codes[0] == 0, run.errors()
        assert codes[1] != 0
    (note,) = [one["text"] for one in events(run.home(0), "note") if "other training data" in one["text"]]
    at = line_of(run, "run.steps(")
    assert note == (
        f"train.py:{at}: rank 1 on box1 has other training data than rank 0 on box0: 60 samples, not 64. {SAME}. "
        "It can't join; the others go on"
    )
    assert summary(run.home(0))["steps"] == 8
