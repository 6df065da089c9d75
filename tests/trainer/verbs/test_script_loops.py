"""A script's own loop on a host by itself, as the master asks for it: its steps are counted and timed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.remote.launch.measured_figures import fault
from motley.trainer.contract.calibration import Calibration
from tests.trainer.verbs.test_trial import Start, Trying, of_script

pytestmark = pytest.mark.ranks

MEASURED: dict[str, Any] = {"batch": 16, "share": None, "budget_s": 0.5}


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Trying] = []

    def started(asked: Calibration, verb: str = "trial") -> Trying:
        running.append(Trying(asked, home, verb))
        return running[-1]

    yield started
    for trying in running:
        with trying.process:
            trying.process.kill()


LOOP = """
import os, sys
import torch
import motley

assert "MOTLEY_TIMED" in os.environ
run = motley.session()
assert "MOTLEY_TIMED" not in os.environ  # what it starts is no session that is timed
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run.prepare(model, optimizer)
for step in run.steps((torch.randn(50, 6),), global_batch=24, epochs=1):
    with step:
        (x,) = step.batch
        assert (run.world_size, run.rank, len(x), len(step.ids)) == (1, 0, 12, 12)
        step.backward(model(x).sum())
        optimizer.step()
        run.log(loss=1.0)
    run.save("mine")
    for (x,) in run.batches((torch.randn(5, 6),)):
        pass
    assert run.mean(3, 2) == 1.5
"""


def test_steps_of_a_session_are_counted_with_its_own_batch(start: Start, home: Path) -> None:
    """A share of 16 of the 32 samples that cluster.toml says is half of the script's 24."""
    trying = start(of_script(home, LOOP))
    result = trying.until("result")["result"]
    assert trying.ended() == 0
    assert (result["steps"], result["samples"], result["pass_limit"], result["total_mib"]) == (2, 12, None, None)
    assert result["first_ms"] > 0
    assert result["step_ms"] > 0
    assert result["memory_mib"] > 50  # torch alone takes more
    assert list((home / ".motley/trials").iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("first", ["motley", pytest.param("own", marks=pytest.mark.longest)])
def test_a_session_works_beside_files_that_have_names_of_ours(start: Start, home: Path, first: str) -> None:
    own = "import console, profiles, remote, trainer"
    text = LOOP.replace(
        "import motley\n", f"import motley\n{own}\n" if first == "motley" else f"{own}\nimport motley\n"
    )
    text = text.replace("model = ", "assert {m.MINE for m in (console, profiles, remote, trainer)} == {4}\nmodel = ")
    asked, project = of_script(home, text), home / ".motley/code/77aa"
    for file in ("console/__init__.py", "profiles/__init__.py", "remote.py", "trainer.py"):
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).write_text("MINE = 4\n")
    assert start(asked).until("result")["result"]["steps"] == 2


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("model(x).sum()", "model(x).mean()", r"train\.py:16: step\.backward: the loss is a mean .*"),
        pytest.param(
            "model(x).sum()",
            "model(x[:, :3]).sum()",
            r"train\.py:16: RuntimeError: mat1 and mat2 .*",
            marks=pytest.mark.longest,
        ),
        pytest.param(
            "for step in",
            "sys.exit(0)\nfor step in",
            r"the script ended before its loop over run\.steps",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_session_that_can_not_train_is_told_with_its_line(
    start: Start, home: Path, old: str, new: str, error: str
) -> None:
    trying = start(of_script(home, LOOP.replace(old, new)))
    assert re.fullmatch(error, trying.until("error")["error"])
    assert trying.ended() == 1


SIZED = """
import torch
import motley

run = motley.session()
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run.prepare(model, optimizer)
for step in run.steps((torch.randn(300, 6),), global_batch=64, epochs=1):
    with step:
        (x,) = step.batch
        assert step.number <= 4 and step.epoch == 0
        if len(x) > ROOM:
            raise torch.OutOfMemoryError("no room")
        step.backward(model(x).sum())
        optimizer.step()
    assert step.done == (len(step.ids) <= ROOM)
"""


@pytest.mark.parametrize(
    ("room", "found"), [pytest.param(64, [4, 8, 16, 32, 64], marks=pytest.mark.longest), (40, [4, 8, 16, 32])]
)
def test_the_loop_of_a_script_is_measured_in_its_own_steps(
    start: Start, home: Path, room: int, found: list[int]
) -> None:
    calibrating = start(of_script(home, SIZED.replace("ROOM", str(room)), **MEASURED), "calibrate")
    result = calibrating.until("result")["result"]
    assert calibrating.ended() == 0
    assert [timing["batch"] for timing in result["timings"]] == found
    assert all(timing["step_ms"] >= timing["compute_ms"] > 0 for timing in result["timings"])
    assert (result["parameters"], result["gradient_bytes"], result["global_batch"]) == (7, 28, 64)
    assert (result["max_batch"], result["threads"], result["device_name"] != "") == (None, 1, True)
    assert fault(result) == ""
    assert list((home / ".motley/trials").iterdir()) == []


def test_a_script_without_a_session_can_not_be_measured(start: Start, home: Path) -> None:
    calibrating = start(of_script(home, "print('hello')\n", **MEASURED), "calibrate")
    assert calibrating.until("error")["error"] == "train.py has not called motley.session()"
    assert calibrating.ended() == 1
