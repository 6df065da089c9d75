"""Measuring a device: for how long, and the verb as the master calls it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.profiles.cores import physical_cores, usable_cores
from motley.profiles.store import Timing
from motley.profiles.thread_counts import candidates
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.host.processes import start_ticks
from motley.trainer.trials.measured_sizes import LEAST_SIZES, sizes
from motley.trainer.verbs.calibrate import BLOCK, LEAST_ROUNDS, ROUNDS, measure, timings
from tests.trainer.trials.stand_in_device import Device

ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 60.0
ASKED = Calibration(
    options=RunOptions(), data=DataOptions(), device="cpu", batch=16, emulated=True, budget_s=0.5
)  # fmt: skip

Start = Callable[[Calibration], "Calibrating"]


def test_every_size_takes_its_turn_and_cold_steps_do_not_count() -> None:
    device = Device()
    small, large = timings(device, [8, 32], 1000.0, lambda: device.now)
    assert small == Timing(batch=8, compute_ms=6.0, step_ms=7.0, noise=0.005, steps=ROUNDS * BLOCK)
    assert (large.compute_ms, large.steps) == (18.0, ROUNDS * BLOCK)


def test_it_ends_when_the_time_is_used_up() -> None:
    device = Device()
    found = timings(device, [64, 256], 4.0, lambda: device.now)
    assert device.now == pytest.approx(4.0, rel=0.2)
    assert found[0].steps == found[1].steps > LEAST_ROUNDS * BLOCK
    slow = Device()
    assert timings(slow, [64, 256], 0.0, lambda: slow.now)[0].steps == LEAST_ROUNDS * BLOCK


class Calibrating:
    """The verb under way, with its request on standard input, which stays open."""

    def __init__(self, asked: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "motley.trainer", "calibrate"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={"HOME": str(home), "PATH": os.environ["PATH"]}, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self._stdout = self.process.stdin, self.process.stdout
        self.stdin.write(asked.encode() + b"\n")

    def line(self) -> dict[str, Any]:
        """The next one; empty at the end."""
        assert select.select([self._stdout], [], [], BOUND_S)[0], f"it said nothing for {BOUND_S:.0f} s"
        line = self._stdout.readline()
        table: dict[str, Any] = json.loads(line) if line else {}
        return table

    def until(self, key: str) -> dict[str, Any]:
        while key not in (table := self.line()):
            assert table, f"it ended without {key}"
        return table

    def child(self) -> int:
        """The process that measures."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = map(int, children)
        return pid

    def ended(self) -> int:
        return self.process.wait(BOUND_S)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Calibrating] = []

    def started(asked: Calibration) -> Calibrating:
        running.append(Calibrating(asked.to_json(), home))
        return running[-1]

    yield started
    for calibrating in running:
        with calibrating.process:  # closes its pipes
            calibrating.process.kill()


def test_a_request_arrives_as_it_was_sent() -> None:
    asked = dataclasses.replace(ASKED, env={"A": "b"}, speed=0.5, max_batch=9)
    assert Calibration.from_json(asked.to_json()) == asked


@pytest.mark.ranks
def test_a_device_is_measured_with_the_task(start: Start) -> None:
    from motley.trainer.tasks import load

    calibrating = start(ASKED)
    assert "note" in calibrating.line()
    result = calibrating.until("result")["result"]
    assert calibrating.ended() == 0
    model = load(ASKED.options, ASKED.data, lambda *_: None).model()
    assert result["gradient_bytes"] == sum(p.numel() * 4 for p in model.parameters())
    assert result["parameters"] * 4 == result["gradient_bytes"]
    assert result["threads"] == 1
    assert result["device_name"]
    memory = [result[key] for key in ("max_batch", "fits_at_least", "sample_mib")]
    assert memory == [None, None, None]  # not known on a CPU
    rows = [Timing(**row) for row in result["timings"]]
    batches = [row.batch for row in rows]
    assert set(batches) <= set(sizes(16, None))  # as many as there is time for, on this machine now
    assert batches[0] == sizes(16, None)[0]
    assert len(batches) >= LEAST_SIZES
    assert all(0 < row.compute_ms < row.step_ms and row.steps >= 6 for row in rows)


@pytest.mark.long
@pytest.mark.ranks
def test_a_cpu_is_measured_with_the_number_of_threads_that_is_fastest_of_those_tried(start: Start) -> None:
    """Which one that is, depends on this machine now."""
    counts = candidates(usable_cores(), cores=physical_cores())
    calibrating = start(dataclasses.replace(ASKED, emulated=False, share=8))
    result = calibrating.until("result")["result"]
    assert calibrating.ended() == 0
    rates = {row["threads"]: row["samples_per_s"] for row in result["thread_rates"]}
    assert list(rates) == (list(counts) if len(counts) > 1 else [])
    assert result["threads"] in counts
    assert rates.get(result["threads"], 1.0) > 0.9 * max(rates.values(), default=1.0)


NIGHT = """
import torch
from torch import nn
import motley
from far import WIDTH

class Night(motley.Task):
    def model(self):
        return nn.Linear(4, WIDTH + self.options["more"])

    def train_data(self):
        return torch.randn(64, 4), torch.zeros(64, dtype=torch.int64)

    def loss(self, outputs, targets):
        if self.options.get("fails"):
            raise KeyError("no such word")
        return nn.functional.cross_entropy(outputs, targets, reduction="none")
"""


@pytest.mark.ranks
@pytest.mark.longest
def test_a_task_of_the_user_s_own_is_measured_and_what_it_raises_names_its_line(start: Start, home: Path) -> None:
    folder = home / ".motley/code/8f5a/tasks"
    folder.mkdir(parents=True)
    (folder / "night.py").write_text(NIGHT)
    (folder / "far.py").write_text("WIDTH = 2\n")
    own = OwnTask(tree="8f5a", file="tasks/night.py", parameters={"more": 1})
    asked = dataclasses.replace(ASKED, options=RunOptions(task="tasks/night.py"), own_task=own)
    assert Calibration.from_json(asked.to_json()) == asked
    calibrating = start(asked)
    result = calibrating.until("result")["result"]
    assert calibrating.ended() == 0
    assert (result["parameters"], result["gradient_bytes"]) == (4 * 3 + 3, 4 * (4 * 3 + 3))
    for parameters, cause in (
        ({"more": 1, "fails": True}, "tasks/night.py:16: KeyError: 'no such word'"),
        ({}, "tasks/night.py:9: KeyError: 'more'"),
    ):
        broken = start(dataclasses.replace(asked, own_task=dataclasses.replace(own, parameters=parameters)))
        assert broken.until("error")["error"] == cause
        assert broken.ended() == 1


@pytest.mark.ranks
def test_an_emulated_host_is_measured_as_slow_as_it_will_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that is 10 ms further at each look: the pauses are in what is measured, whatever machine this is."""
    from motley.trainer.training import emulated_speed

    asked, seen = dataclasses.replace(ASKED, speed=0.25, speeds=2.0), []
    looks = itertools.count()

    def slowed(*given: object) -> emulated_speed.Slowdown:
        seen.append(given)
        return emulated_speed.Slowdown(0.25, lambda: next(looks) * 0.01)

    monkeypatch.setattr(emulated_speed, "slowdown_of", slowed)
    found = measure(asked, lambda _: None)["timings"]
    assert [given[:2] for given in seen] == [(0.25, 2.0)]
    assert len(found) >= LEAST_SIZES
    for timing in found:
        assert timing["compute_ms"] >= 29.0  # a pause of 30 ms before the last gradient
        assert timing["step_ms"] >= 59.0  # and one after the update


@pytest.mark.ranks
def test_it_ends_with_its_master(start: Start) -> None:
    calibrating = start(dataclasses.replace(ASKED, budget_s=600.0, speed=0.5))
    calibrating.until("ready")
    child = calibrating.child()
    calibrating.stdin.close()
    assert calibrating.ended() == 1
    assert start_ticks(child) is None
    assert "result" not in calibrating.line()


@pytest.mark.ranks
def test_a_child_that_the_system_ends_is_told_of(start: Start) -> None:
    calibrating = start(dataclasses.replace(ASKED, budget_s=600.0))
    calibrating.until("ready")
    os.kill(calibrating.child(), signal.SIGKILL)
    table = calibrating.until("error")
    assert table["error"] == "measuring was ended by the system (SIGKILL)"
    assert "max_batch" in table["remedy"]
    assert calibrating.ended() == 1


@pytest.mark.ranks
def test_what_is_not_there_is_an_error_with_a_remedy(start: Start, tmp_path: Path) -> None:
    options = RunOptions(task="simple_cnn/cifar10")
    data = DataOptions(path=str(tmp_path / "nowhere"), download=False)
    without_data = start(dataclasses.replace(ASKED, options=options, data=data))
    table = without_data.until("error")
    assert str(tmp_path / "nowhere") in table["error"]
    assert "[data] path" in table["remedy"]
    assert without_data.ended() == 1

    without_device = start(dataclasses.replace(ASKED, device="cuda:97"))
    table = without_device.until("error")
    assert "cuda:97" in table["error"]
    assert "devices" in table["remedy"]
    assert without_device.ended() == 1


@pytest.mark.parametrize("asked", ["", "{}", "[]", '{"protocol": 1}', '{"protocol": 1, "options": 3, "data": {}}'])
def test_a_request_that_is_none_is_answered(asked: str, home: Path) -> None:
    calibrating = Calibrating(asked, home)
    with calibrating.process:
        assert "remedy" in calibrating.until("error")
        assert calibrating.ended() == 1
