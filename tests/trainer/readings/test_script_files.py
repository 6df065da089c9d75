"""Files that a script writes its figures to: found, followed as they grow, replaced, and too many of them."""

from __future__ import annotations

import os
from pathlib import Path

from motley.trainer.readings import script_files
from motley.trainer.readings.script_files import LOOK_S, ScriptFiles, found
from motley.trainer.readings.script_reader import Figures, ScriptReader
from tests.trainer.readings.test_event_file import WRITTEN


class Look:
    def __init__(self, folder: Path) -> None:
        self.files, self.reader, self.now = ScriptFiles(folder), ScriptReader(), 0.0

    def __call__(self) -> Figures | None:
        self.now += LOOK_S
        self.files.read(self.reader, self.now)
        return self.reader.take(now=self.now)


def step_and_loss(figures: Figures | None) -> tuple[int, float | None] | None:
    return (figures.step, figures.loss) if figures is not None else None


def test_lines_of_metrics_as_they_are_written(tmp_path: Path) -> None:
    look, path = Look(tmp_path), tmp_path / "out/run/metrics.jsonl"
    assert look() is None
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        file.write('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
        file.flush()
        assert step_and_loss(look()) == (1, 2.5)
        file.write('ss": 2.25, "val_loss": 9}\n{"epoch": 1}\nno JSON\n')
        file.flush()
        assert step_and_loss(look()) == (2, 2.25)
        assert look() is None


def test_events_of_tensorboard_as_they_are_written(tmp_path: Path) -> None:
    look, path = Look(tmp_path), tmp_path / "runs/events.out.tfevents.1.box1.17.0"
    path.parent.mkdir()
    path.write_bytes(WRITTEN[:200])
    assert step_and_loss(look()) == (1, 3.0)
    path.write_bytes(WRITTEN)
    assert step_and_loss(look()) == (3, 0.25)


def test_a_file_that_was_replaced_or_cut_is_read_from_its_beginning(tmp_path: Path) -> None:
    look, path = Look(tmp_path), tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": 2}\n')
    assert step_and_loss(look()) == (5, 2.0)
    new = tmp_path / "new"
    new.write_text('{"step": 6, "loss": 1.5, "more": "than there was before"}\n')
    new.rename(path)
    assert step_and_loss(look()) == (6, 1.5)
    path.write_text('{"step": 7, "loss": 1}\n')
    assert step_and_loss(look()) == (7, 1.0)


def test_a_loss_that_is_no_number_is_doubted(tmp_path: Path) -> None:
    look = Look(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": NaN}\n{"step": 6, "loss": 1e999}\n')
    assert step_and_loss(look()) == (6, None)
    assert look.reader.doubts == ["the loss is NaN", "the loss is 1e999"]


def test_a_line_without_end_holds_nothing_up(tmp_path: Path) -> None:
    look, path = Look(tmp_path), tmp_path / "metrics.jsonl"
    path.write_bytes(b"x" * (script_files.READ_BYTES + 10) + b'\n{"step": 5, "loss": 2}\n')
    assert look() is None
    assert step_and_loss(look()) == (5, 2.0)


def test_links_pipes_and_what_can_t_be_read_are_left(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    outside.mkdir()
    (outside / "metrics.jsonl").write_text('{"step": 5, "loss": 2}\n')
    run = tmp_path / "away"
    (run / "link").symlink_to(outside)
    (run / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    os.mkfifo(run / "events.out.tfevents.1")
    assert list(found(str(run))) == []
    assert Look(run)() is None


def test_of_very_many_files_some_are_looked_at(tmp_path: Path) -> None:
    for i in range(script_files.ENTRIES + 50):
        (tmp_path / f"{i}.txt").touch()
    deep = tmp_path / "/".join("abcdef")
    deep.mkdir(parents=True)
    (deep / "metrics.jsonl").touch()
    assert list(found(str(tmp_path))) == []
    many = tmp_path / "many"
    many.mkdir()
    for i in range(40):
        (many / f"events.out.tfevents.{i}").touch()
    assert len(list(found(str(many)))) == script_files.FILES


def test_a_look_comes_once_a_second(tmp_path: Path) -> None:
    files, reader = ScriptFiles(tmp_path), ScriptReader()
    files.read(reader, 10.0)
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": 2}\n')
    files.read(reader, 10.0 + LOOK_S / 2)
    assert reader.take(now=11.0) is None
    files.read(reader, 10.0 + LOOK_S)
    assert reader.take(now=11.0) is not None


def test_the_last_look_comes_at_once_and_reads_to_the_end(tmp_path: Path) -> None:
    look, path = Look(tmp_path), tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n')
    assert step_and_loss(look()) == (1, 2.5)
    line = '{"step": 2, "loss": 2.25, "note": "' + "x" * 1000 + '"}\n'
    path.write_text(path.read_text() + line * (2 * script_files.READ_BYTES // len(line)) + '{"step": 3, "loss": 2.0}\n')

    look.files.read(look.reader, look.now)
    assert look.reader.take(now=look.now) is None
    look.files.read(look.reader, look.now, last=True)
    assert step_and_loss(look.reader.take(now=look.now)) == (3, 2.0)
