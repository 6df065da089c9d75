"""Two hosts of tests, each with files that grow, and what a folder of their experiment has to hold in the end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.local_copy import LocalCopy
from motley.remote.experiment.printed_times import Times
from motley.trainer.contract.wire import Chunk, Event, Sample, decode, encode

HOSTS = ("box0", "box1")
COUNT = 12  # steps of a rank


def sample(seq: int, *, host: str = "box0", member: int = 0, loss: float | None = 1.0, batch: int = 8) -> Sample:
    return Sample(
        seq=seq, step=seq + 1, epoch=0, time=1.0, host=host, member=member, rank=member, generation=0, batch=batch,
        loss=loss, compute_ms=1.0, wait_ms=1.0, data_ms=0.0, step_ms=2.0, samples_per_s=1.0,
    )  # fmt: skip


def event(text: str, *, host: str = "box0") -> Event:
    return Event(time=1.0, host=host, source="rank 0", kind="note", text=text)


def printed_at(line: str) -> float:
    """Of a line of output."""
    return 100.0 + int(line.split()[-1])


class Host:
    """Files that only grow, and what `attach` sends of them."""

    def __init__(self, name: str, member: int) -> None:
        self.files = {
            "events.jsonl": b"".join(encode(event(f"{name} event {n}", host=name)) for n in range(COUNT)),
            f"rank_{member}.jsonl": b"".join(encode(sample(n, host=name, member=member)) for n in range(COUNT)),
            f"rank_{member}.out": b"".join(f"{name} line {n}\n".encode() for n in range(COUNT)),
        }

    def chunks(self, offsets: dict[str, int], lines: int = COUNT) -> Iterator[Chunk]:
        for file, content in self.files.items():
            start = offsets.get(file, 0)
            while start < len(content):
                part = b"".join(content[start:].splitlines(keepends=True)[:lines])
                text = part.decode()
                times = [[n, printed_at(line)] for n, line in enumerate(text.splitlines())] if ".out" in file else []
                yield Chunk(file=file, start=start, end=start + len(part), text=text, times=times)
                start += len(part)


MACHINES = {name: Host(name, member) for member, name in enumerate(HOSTS)}


def read_on(experiment: Experiment, lines: int = COUNT) -> None:
    """What every host still has for this experiment, a few lines at a time."""
    for name, machine in MACHINES.items():
        for chunk in machine.chunks(experiment.offsets(name), lines):
            experiment.take(name, chunk)


def copy_of(experiment: Experiment) -> LocalCopy:
    assert experiment._copy is not None
    return experiment._copy


def assert_whole(folder: Path) -> None:
    """Every line of every host once; in the order of its file, and what ranks printed with its time."""
    for member, name in enumerate(HOSTS):
        files = MACHINES[name].files
        assert (folder / f"logs/rank_{member}_metrics.jsonl").read_bytes() == files[f"rank_{member}.jsonl"]
        assert (folder / f"logs/rank_{member}.log").read_bytes() == files[f"rank_{member}.out"]
        times = Times.read(folder / f"logs/rank_{member}.times")
        lines = files[f"rank_{member}.out"].splitlines(keepends=True)
        begins = [0, *itertools.accumulate(len(line) for line in lines[:-1])]
        assert [times.at(begin) for begin in begins] == [printed_at(line.decode()) for line in lines]
    kept = [decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    for name in HOSTS:
        texts = [record.text for record in kept if isinstance(record, Event) and record.host == name]
        assert texts == [f"{name} event {n}" for n in range(COUNT)]
