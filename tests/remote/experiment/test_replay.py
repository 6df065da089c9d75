"""What was kept of an experiment is told again, as it happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from motley.remote.experiment.folder import Experiment
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Chunk, Event, Sample, encode
from tests.remote.experiment.machines import COUNT, HOSTS, event, read_on, sample


def test_what_was_kept_is_told_again(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.note(event("of the console", host="console"))
    experiment.commit()
    with (folder / "logs/rank_1_metrics.jsonl").open("ab") as file:
        file.write(b'{"half a')  # another console is writing
    records = list(Experiment(folder).replay())
    experiment.close()
    samples = [(r.member, r.seq) for r in records if isinstance(r, Sample)]
    assert samples == [(member, n) for member in (0, 1) for n in range(COUNT)]
    assert [(r.host, r.member, r.text) for r in records if isinstance(r, LogLine)] == [
        (host, member, f"{host} line {n}") for member, host in enumerate(HOSTS) for n in range(COUNT)
    ]
    assert [r.text for r in records if isinstance(r, Event)][-1] == "of the console"


def test_what_was_kept_is_told_in_the_order_in_which_it_happened(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    for host, member, times in (("box0", 0, (1.0, 4.0)), ("box1", 1, (2.0, 3.0))):
        lines = [encode(replace(sample(n, host=host, member=member), time=at)) for n, at in enumerate(times)]
        text = b"".join(lines).decode()
        experiment.take(host, Chunk(file=f"rank_{member}.jsonl", start=0, end=len(text), text=text))
    experiment.note(replace(event("between"), time=2.5))
    experiment.close()
    records = [r for r in Experiment(folder).replay() if not isinstance(r, LogLine)]
    assert [record.time for record in records] == [1.0, 2.0, 2.5, 3.0, 4.0]


def test_a_line_damaged_here_is_told_of(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    path = folder / "logs/rank_0_metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":3', b'"sequ:3'))
    records = list(Experiment(folder).replay())
    assert [r.seq for r in records if isinstance(r, Sample) and r.member == 0] == [0, 1, 2, *range(4, COUNT)]
    assert any("rank_0_metrics.jsonl can't be read" in r.text for r in records if isinstance(r, Event))
