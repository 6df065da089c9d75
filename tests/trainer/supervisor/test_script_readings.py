"""Figures of scripts as their supervisor keeps them: which lines, how often, when a script starts anew."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest

from motley.trainer.contract.spec import Member
from motley.trainer.contract.wire import Event, Reading, decode
from motley.trainer.host import session_mark
from motley.trainer.host.journal import Journal
from motley.trainer.readings.report import Reporter
from motley.trainer.readings.start_mark import mark_start, wait_until_heard
from motley.trainer.supervisor.child import Child
from motley.trainer.supervisor.output_files import OutputFile
from motley.trainer.supervisor.script_readings import EVERY_S, ScriptReadings


class Script:
    """A script that prints what a test says, on a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 100.0
        self.readings = ScriptReadings(folder, "box1", Journal(folder, host="box1", source="s"), clock=lambda: self.now)
        self.start()

    def start(self) -> None:
        reader, self.writer = os.pipe()
        os.set_blocking(reader, False)
        member = Member(member=3, host="box1", local_rank=0, device="cpu")
        self.child = Child(17, OutputFile(self.folder, "rank_3", reader), member=member, start=1)
        self.readings.watch(self.child)

    def prints(self, text: str, *, after_s: float = 1.0) -> None:
        self.now += after_s
        os.write(self.writer, text.encode())
        self.child.output.pump()
        self.readings.keep()

    def ends(self) -> None:
        os.close(self.writer)
        self.child.output.close()

    def kept(self, name: str = "rank_3.jsonl") -> list[Reading]:
        path = self.folder / name
        records = [decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        return [record for record in records if isinstance(record, Reading)]

    def notes(self) -> list[str]:
        records = [decode(line) for line in (self.folder / "events.jsonl").read_bytes().splitlines()]
        return [record.text for record in records if isinstance(record, Event)]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_what_a_script_prints_is_kept_as_it_is_printed(script: Script) -> None:
    script.prints("starting\n")
    assert script.kept() == []
    script.prints("step 10/30: loss 2.5\nstep 2")
    script.prints("0/30: loss 2.25\n", after_s=5.0)
    script.ends()
    script.readings.close()
    assert script.kept() == [
        Reading(time=102.0, host="box1", member=3, step=10, steps_total=30, loss=2.5),
        Reading(time=107.0, host="box1", member=3, step=20, steps_total=30, loss=2.25, steps_per_s=2.0),
    ]
    assert (script.folder / "rank_3.out").read_text().splitlines()[-1] == "step 20/30: loss 2.25"


def test_a_flood_is_a_line_each_half_second_and_its_last_figure_is_not_lost(script: Script) -> None:
    for step in range(100):
        script.prints(f"step {step}: loss 1\n", after_s=EVERY_S / 8)
    assert [reading.step for reading in script.kept()] == list(range(0, 100, 8))
    script.readings.close()
    assert script.kept()[-1].step == 99
    script.ends()


def test_a_script_that_starts_anew_begins_at_its_own_first_step(script: Script) -> None:
    script.prints("step 10: loss 1\n")
    script.ends()
    script.start()
    script.prints("step 1: loss 2\n")
    assert [reading.step for reading in script.kept()] == [10, 1]
    script.ends()
    script.readings.close()


def test_what_a_script_writes_to_its_metrics_is_kept_too(script: Script) -> None:
    script.prints("training\n")
    (script.folder / "metrics.jsonl").write_text('{"step": 4, "loss": 0.5}\n')
    script.prints("an epoch is over\n")
    assert [(reading.step, reading.loss) for reading in script.kept()] == [(4, 0.5)]
    script.ends()
    script.readings.close()


def test_a_figure_that_is_not_believed_is_told_once(script: Script) -> None:
    script.prints("step 1: loss nan\n")
    script.prints("step 2: loss nan\n")
    assert script.notes() == ["a figure of rank 3's output is not shown: the loss is nan"]
    assert [reading.loss for reading in script.kept()] == [None, None]
    script.ends()
    script.readings.close()


def test_of_a_script_that_tells_of_its_steps_itself_nothing_is_read(script: Script) -> None:
    script.prints("step 1: loss 2\n")
    session_mark.mark(script.folder, print)
    script.prints("step 2: loss 2\n")
    script.ends()
    script.readings.close()
    assert [reading.step for reading in script.kept()] == [1]


def test_where_the_disk_refuses_the_run_goes_on(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    script.prints("step 1: loss 2\n")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, script.readings._files[3])
    script.prints("step 2: loss 2\n")
    assert "reading not written: [Errno 28]" in capfd.readouterr().err
    os.close(full)
    script.ends()
    script.readings.close()


def test_what_a_script_reports_is_kept_and_a_start_before_counts_no_more(script: Script) -> None:
    reporter = Reporter({"MOTLEY_DIR": str(script.folder), "MOTLEY_MEMBER": "3"})
    reporter.say(step=40, loss=2.5, steps=100, epoch=None)
    script.prints("step 7: loss 9\n")
    (reading,) = script.kept()
    assert (reading.step, reading.steps_total, reading.loss) == (40, 100, 2.5)
    script.ends()
    script.start()
    script.prints("hello\n")
    assert len(script.kept()) == 1
    reporter.say(step=3, loss=2.4, steps=100, epoch=None)
    script.prints("hello\n")
    assert [reading.step for reading in script.kept()] == [40, 3]


def test_a_script_that_is_started_anew_counts_anew(script: Script) -> None:
    bar = "{:3d}%|####      | {}/40 [00:04<00:00, 10.0it/s]\r"
    mark_start(script.folder, member=3, attempt=0)
    script.prints(bar.format(2, 1))
    script.prints(bar.format(50, 20))
    mark_start(script.folder, member=3, attempt=1)
    script.prints(bar.format(2, 1))
    script.prints(bar.format(20, 8))
    assert [(reading.step, reading.steps_total) for reading in script.kept()] == [(1, 40), (20, 40), (1, 40), (8, 40)]


def test_who_starts_a_script_anew_waits_until_what_it_had_printed_is_heard() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"100%")
    heard = threading.Timer(0.1, os.read, (reader, 100))
    heard.start()
    wait_until_heard(writer)
    assert not select.select([reader], [], [], 0)[0]
    heard.join()
    with open(os.devnull, "wb") as nothing:
        wait_until_heard(nothing.fileno())
    os.close(reader)
    os.close(writer)


def test_what_is_written_to_a_file_right_before_the_end_is_kept(script: Script) -> None:
    path = script.folder / "metrics.jsonl"
    path.write_text('{"step": 13, "loss": 2.5}\n')
    script.prints("\n")
    path.write_text(path.read_text() + '{"step": 40, "loss": 2.25}\n')
    script.ends()
    script.readings.close()

    assert [(reading.step, reading.loss) for reading in script.kept()] == [(13, 2.5), (40, 2.25)]
