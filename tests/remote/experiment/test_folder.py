"""The experiment folder: whatever happens to the console or the files, no line is lost and none is there twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.errors import RunFailed, UsageError
from remote.experiment import Experiment, local_name
from remote.feed import LogLine
from remote.last_loss import LastLosses
from trainer.wire import Chunk, Event, Sample, decode, encode

HOSTS = ("box0", "box1")
COUNT = 12  # steps of a rank


def sample(seq: int, *, host: str = "box0", member: int = 0, loss: float | None = 1.0, batch: int = 8) -> Sample:
    return Sample(
        seq=seq, step=seq + 1, epoch=0, time=1.0, host=host, member=member, rank=member, generation=0, batch=batch,
        loss=loss, compute_ms=1.0, wait_ms=1.0, data_ms=0.0, step_ms=2.0, samples_per_s=1.0,
    )  # fmt: skip


def event(text: str, *, host: str = "box0") -> Event:
    return Event(time=1.0, host=host, source="rank 0", kind="note", text=text)


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
                yield Chunk(file=file, start=start, end=start + len(part), text=part.decode())
                start += len(part)


MACHINES = {name: Host(name, member) for member, name in enumerate(HOSTS)}


def read_on(experiment: Experiment, lines: int = COUNT) -> None:
    """What every host still has for this experiment, a few lines at a time."""
    for name, machine in MACHINES.items():
        for chunk in machine.chunks(experiment.offsets(name), lines):
            experiment.take(name, chunk)


def assert_whole(folder: Path) -> None:
    """Every line of every host once; in the order of its file."""
    for member, name in enumerate(HOSTS):
        files = MACHINES[name].files
        assert (folder / f"logs/rank_{member}_metrics.jsonl").read_bytes() == files[f"rank_{member}.jsonl"]
        assert (folder / f"logs/rank_{member}.log").read_bytes() == files[f"rank_{member}.out"]
    kept = [decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    for name in HOSTS:
        texts = [record.text for record in kept if isinstance(record, Event) and record.host == name]
        assert texts == [f"{name} event {n}" for n in range(COUNT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "experiments" / "night"


def test_what_was_kept_is_what_the_hosts_wrote(folder: Path) -> None:
    experiment = Experiment.create(folder, "[cluster]\n")
    read_on(experiment, lines=5)
    experiment.close()
    assert_whole(folder)
    assert (folder / "cluster.toml").read_text() == "[cluster]\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    again = Experiment.open(folder)
    assert {name: again.offsets(name) for name in HOSTS} == {
        name: {file: len(content) for file, content in machine.files.items()} for name, machine in MACHINES.items()
    }
    again.close()


def test_a_crash_between_any_two_writes(folder: Path, tmp_path: Path) -> None:
    """A copy of the folder as it was at each moment, half-written commits included, is gone on with."""
    moments: list[Path] = []

    def keep() -> None:
        moments.append(shutil.copytree(folder, tmp_path / f"moment{len(moments)}"))

    experiment = Experiment.create(folder, "")
    chunks = [(name, chunk) for name, machine in MACHINES.items() for chunk in machine.chunks({}, 4)]
    for number, (name, chunk) in enumerate(chunks):
        experiment.take(name, chunk)
        for file in experiment._files.values():
            file.flush()  # the kernel has it, nothing says so yet
        keep()
        if number % 3 == 1:
            experiment.commit()
            keep()
            (moments[-1] / ".offsets.json.part").write_text('{"sizes": {"ev')
    experiment.close()
    assert len(moments) > 20
    for moment in moments:
        after = Experiment.open(moment)
        read_on(after)
        after.close()
        assert_whole(moment)


@given(data=st.data())
def test_files_cut_or_gone_are_read_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A full disk, a power cut, an editor: what is missing comes from the hosts again, the rest stays as it is."""
    folder = tmp_path_factory.mktemp("cut") / "night"
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    for path in [folder / "events.jsonl", folder / "offsets.json", *(folder / "logs").iterdir()]:
        cut = data.draw(st.none() | st.integers(0, path.stat().st_size) if path.suffix != ".json" else st.none())
        if cut is not None:
            os.truncate(path, cut)
        elif data.draw(st.booleans()):
            path.unlink()
    after = Experiment.open(folder)
    read_on(after)
    after.close()
    assert_whole(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"{", b"[]", b"null", b"{}", b'{"sizes": {}, "offsets": []}', b"[" * 100_000,
        b'{"sizes": {"events.jsonl": "12"}, "offsets": {}}', b'{"sizes": {"events.jsonl": -1}, "offsets": {}}',
        b'{"sizes": {}, "offsets": {"box0": {"events.jsonl": 1.5}}}', b'{"sizes": {}, "offsets": {"box0": 7}}',
    ],
)  # fmt: skip
def test_damaged_offsets_are_named_and_nothing_is_lost(folder: Path, content: bytes) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    (folder / "offsets.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"night/offsets\.json is damaged \(.*\)\. Move .*night away; .*attach night"):
        Experiment.open(folder)
    assert_whole(folder)
    folder.rename(folder.with_name("away"))
    again = Experiment.open(folder)  # as the message says
    assert again.writable
    read_on(again)
    again.close()
    assert_whole(folder)


def test_one_console_writes_the_others_read(folder: Path) -> None:
    first = Experiment.create(folder, "")
    second = Experiment.open(folder)
    assert (first.writable, second.writable) == (True, False)
    read_on(first, lines=3)
    taken = [r for name, m in MACHINES.items() for c in m.chunks(second.offsets(name)) for r in second.take(name, c)]
    assert len(taken) == 2 * 3 * COUNT  # it sees everything
    second.note(event("of the second"))
    second.write_whole("summary.json", b"{}")
    second.commit()
    second.close()
    first.close()
    assert_whole(folder)
    assert not (folder / "summary.json").exists()
    third = Experiment.open(folder)
    assert third.writable
    third.close()


def test_a_name_that_exists_is_refused(folder: Path) -> None:
    Experiment.create(folder, "mine").close()
    with pytest.raises(UsageError, match="night is there already: choose another name with --name"):
        Experiment.create(folder, "other")
    assert (folder / "cluster.toml").read_text() == "mine"


def test_files_that_are_not_ours_are_left_alone(folder: Path) -> None:
    Experiment.create(folder, "").close()
    notes = folder / "logs" / "my notes.txt"
    notes.write_text("mine")
    experiment = Experiment.open(folder)
    list(experiment.replay())
    experiment.close()
    assert notes.read_text() == "mine"


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


def test_what_was_kept_is_told_again(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.note(event("of the console", host="console"))
    experiment.commit()
    with (folder / "logs/rank_1_metrics.jsonl").open("ab") as file:
        file.write(b'{"half a')  # another console is writing
    records = list(Experiment(folder, writable=False).replay())
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
    records = [r for r in Experiment(folder, writable=False).replay() if not isinstance(r, LogLine)]
    assert [record.time for record in records] == [1.0, 2.0, 2.5, 3.0, 4.0]


def test_a_line_damaged_here_is_told_of(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    path = folder / "logs/rank_0_metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":3', b'"sequ:3'))
    records = list(Experiment(folder, writable=False).replay())
    assert [r.seq for r in records if isinstance(r, Sample) and r.member == 0] == [0, 1, 2, *range(4, COUNT)]
    assert any("rank_0_metrics.jsonl can't be read" in r.text for r in records if isinstance(r, Event))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0: (8, 1.0), 1: (24, 3.0)}, 2.5),
        ({0: (8, 1.0), 1: (0, None)}, 1.0),
        ({0: (8, 1.0)}, None),  # the other's line is not here
        ({0: (8, None), 1: (24, 3.0)}, None),  # it has diverged
        ({0: (0, None), 1: (0, None)}, None),
    ],
)
def test_the_loss_of_the_last_step(losses: dict[int, tuple[int, float | None]], expected: float | None) -> None:
    heard = LastLosses()
    for member, (batch, loss) in losses.items():
        for number in (*range(2000), 1999):  # one was undone, and made again
            heard.hear(sample(number, member=member))
        heard.hear(sample(2000, member=member, batch=batch, loss=loss))
        heard.hear(sample(2001, member=member))
    assert heard.of(2001, 2) == expected


@pytest.mark.parametrize("act", [Experiment.commit, Experiment.close])
def test_a_full_disk_is_told_and_can_be_mended(folder: Path, act: Callable[[Experiment], None]) -> None:
    experiment = Experiment.create(folder, "")
    log = folder / "logs/rank_0.log"
    log.symlink_to("/dev/full")
    read_on(experiment)
    with pytest.raises(RunFailed, match=r"night can't be written: No space left on device\. The run itself goes on"):
        act(experiment)
    experiment._release()
    log.unlink()
    again = Experiment.open(folder)
    read_on(again)
    again.close()
    assert_whole(folder)


def test_offsets_are_readable_by_other_programs(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.commit()
    table = json.loads((folder / "offsets.json").read_bytes())
    assert set(table) == {"sizes", "offsets"}
    for name, size in table["sizes"].items():
        assert (folder / name).stat().st_size == size
    experiment.close()
