"""What is taken from a host into the experiment folder, and what of it is left out or told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.local_names import local_name
from motley.trainer.contract.wire import Chunk, Event, Sample, decode, encode
from tests.remote.experiment.machines import COUNT, MACHINES, event, sample


@pytest.mark.parametrize(
    ("file", "local"),
    [
        ("rank_3.jsonl", "logs/rank_3_metrics.jsonl"),
        ("rank_3.1.jsonl", "logs/rank_3_metrics.jsonl"),
        ("rank_12.out", "logs/rank_12.log"),
        ("rank_12.10.out", "logs/rank_12.log"),
        ("events.jsonl", "events.jsonl"),
        ("coordinator.out", "logs/coordinator.log"),
        ("spec.json", None),
        ("../rank_0.jsonl", None),
        ("rank_0.jsonl/../../x", None),
        ("rank_" + "9" * 5000 + ".out", None),
        ("rank_٣.out", None),
        ("summary.json", None),
    ],
)
def test_only_files_of_ours_are_taken_from_a_host(folder: Path, file: str, local: str | None) -> None:
    assert local_name(file) == local
    experiment = Experiment.create(folder, "")
    before = sorted(folder.rglob("*"))
    records = experiment.take("box0", Chunk(file=file, start=0, end=5, text="text\n"))
    experiment.commit()
    assert bool(records) == (local is not None)
    if local is None:
        assert sorted(folder.rglob("*")) == before
    experiment.close()


def test_the_numbered_files_of_a_rank_are_one_here(folder: Path) -> None:
    """A process that was started anew writes a file of its own; its numbers go on."""
    experiment = Experiment.create(folder, "")
    for file, numbers in (("rank_0.jsonl", range(3)), ("rank_0.1.jsonl", range(3, 5)), ("rank_0.2.jsonl", range(5, 9))):
        text = b"".join(encode(sample(n)) for n in numbers).decode()
        experiment.take("box0", Chunk(file=file, start=0, end=len(text), text=text))
        output = "".join(f"line {n}\n" for n in numbers)
        experiment.take("box0", Chunk(file=file.replace("jsonl", "out"), start=0, end=len(output), text=output))
    experiment.close()
    kept = [decode(line) for line in (folder / "logs/rank_0_metrics.jsonl").read_bytes().splitlines()]
    assert [record.seq for record in kept if isinstance(record, Sample)] == list(range(9))
    assert (folder / "logs/rank_0.log").read_text() == "".join(f"line {n}\n" for n in range(9))


def test_a_chunk_that_comes_twice_is_taken_once(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    (chunk,) = [c for c in MACHINES["box0"].chunks({}) if c.file == "rank_0.jsonl"]
    assert len(experiment.take("box0", chunk)) == COUNT
    assert experiment.take("box0", chunk) == []
    experiment.close()
    assert len((folder / "logs/rank_0_metrics.jsonl").read_bytes().splitlines()) == COUNT


@pytest.mark.parametrize(
    "line",
    [
        "no json", "{}", "null", '{"v": 9, "type": "sample"}', "[" * 20_000, '{"v":1,"type":"sample","seq":"x"}',
        encode(event("of another kind")).decode().strip(), "\x1b]0;title\x07{", " ",
    ],
)  # fmt: skip
def test_a_bad_line_becomes_an_event_and_its_neighbours_are_kept(folder: Path, line: str) -> None:
    experiment = Experiment.create(folder, "")
    text = f"{encode(sample(0)).decode()}{line}\n{encode(sample(1)).decode()}"
    first, bad, second = experiment.take("box0", Chunk(file="rank_0.jsonl", start=0, end=len(text), text=text))
    experiment.close()
    assert (first, second) == (sample(0), sample(1))
    assert isinstance(bad, Event)
    assert (bad.level, bad.host) == ("warning", "box0")
    assert bad.text.startswith("a line of rank_0.jsonl can't be read: ")
    assert "\x1b" not in bad.text
    metrics = (folder / "logs/rank_0_metrics.jsonl").read_bytes()
    assert metrics == encode(sample(0)) + encode(sample(1))  # what reads metrics meets nothing else
    assert decode((folder / "events.jsonl").read_bytes()) == bad


def test_an_empty_line_between_two_is_no_fault(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    text = f"{encode(sample(0)).decode()}\n{encode(sample(1)).decode()}"
    records = experiment.take("box0", Chunk(file="rank_0.jsonl", start=0, end=len(text), text=text))
    experiment.close()
    assert records == [sample(0), sample(1)]


def test_nothing_a_host_sends_steers_the_terminal(folder: Path) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2Jred\x1b[31m\x07\u202e"
    experiment = Experiment.create(folder, "")
    nasty = Event(time=1.0, host=evil, source=evil, kind=evil, text=evil, level="error", data={evil: [evil]})
    records: list[object] = []
    for file, text in (
        ("events.jsonl", encode(nasty).decode()),
        ("rank_0.jsonl", encode(sample(0, host=evil)).decode()),
        ("rank_0.out", f"10%\r20%\r{evil}\n"),
        ("coordinator.out", f"{evil}\n"),
    ):
        records += experiment.take("box0", Chunk(file=file, start=0, end=len(text), text=text))
    experiment.close()
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for bad in ("\x1b", "\x07", "\u202e", "\\u001b", "\\u0007", "\\u202e"):
        assert bad.encode() not in written
        assert bad not in repr(records).replace("\\x1b", "\x1b").replace("\\x07", "\x07")
    assert (folder / "logs/rank_0.log").read_text() == "red\n"  # the last state of a line that redraws itself


def test_a_level_that_does_not_exist_is_an_information(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    text = encode(event("hello")).decode().replace('"info"', '"shouting"')
    (record,) = experiment.take("box0", Chunk(file="events.jsonl", start=0, end=len(text), text=text))
    assert record == event("hello")
    experiment.close()
