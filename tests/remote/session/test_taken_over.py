"""Two consoles follow one run; when the one that keeps its files leaves, the other one does, and nothing is missing."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.remote.experiment import committed_offsets
from motley.remote.experiment.folder import Experiment
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Chunk, Event, Sample, encode
from motley.trainer.verbs import attach
from tests.remote.stage import FOREVER, Seen, Stage

LINES = 30
LEFT = "the console that kept the files of this run has left"


def event(text: str) -> Event:
    return Event(time=1.0, host="box0", source="rank 0", kind="note", text=text)


class Host:
    """Files of a host, and an `attach` to each console."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = {
            "rank_0.out": [f"line {n} é\n".encode() for n in range(LINES)],
            "rank_0.1.out": [b"\xff %d\n" % n for n in range(LINES)],
            "events.jsonl": [encode(event(f"event {n}")) for n in range(LINES)],
        }

    def write(self, count: int) -> None:
        """Its files have so many lines now; the second log begins when the first one is full."""
        shares = {"rank_0.out": count * 2, "rank_0.1.out": count * 2 - LINES, "events.jsonl": count}
        for name, share in shares.items():
            if share > 0:
                (self.folder / name).write_bytes(b"".join(self._lines[name][:share]))

    def expected(self, name: str) -> list[str]:
        return [line.decode(errors="replace").strip() for line in self._lines[name]]


class Console:
    """What it was shown, by kind of file."""

    def __init__(self, host: Host, experiment: Experiment) -> None:
        self.host = host
        self.experiment = experiment
        self.logs: list[str] = []
        self.events: list[str] = []
        self._offsets: dict[str, int] = {}
        self._borders: dict[str, int] = {}
        self.ask()

    def ask(self) -> None:
        self._offsets = self.experiment.offsets("box0")
        self._borders = self.experiment.borders("box0")

    def read(self, chunks: int) -> None:
        """So many chunks more."""
        if self.experiment.stale("box0"):
            self.ask()
        for chunk in self._coming(chunks):
            assert not self.experiment.lacks("box0", chunk)
            self._offsets[chunk.file] = chunk.end
            for record in self.experiment.take("box0", chunk):
                if isinstance(record, LogLine):
                    self.logs.append(record.text)
                elif isinstance(record, Event):
                    self.events.append(record.text)

    def _coming(self, chunks: int) -> Iterator[Chunk]:
        found = attach.new_chunks(self.host.folder, self._offsets, whole=False, borders=self._borders)
        yield from (chunk for chunk, _ in zip(list(found), range(chunks), strict=False))


COUNTS = st.tuples(st.integers(0, LINES), st.integers(0, 9), st.integers(0, 9), st.booleans())


@settings(max_examples=40)
@given(before=st.lists(COUNTS, max_size=5), after=st.lists(COUNTS, max_size=3), size=st.integers(150, 600))
def test_wherever_each_of_them_was_nothing_is_lost_and_nothing_comes_twice(
    before: list[tuple[int, int, int, bool]], after: list[tuple[int, int, int, bool]], size: int
) -> None:
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.setattr(attach, "CHUNK_BYTES", size)
        (there := Path(top) / "host").mkdir()
        host = Host(there)
        first = Console(host, Experiment.create(Path(top) / "night", ""))
        second = Console(host, Experiment.open(Path(top) / "night"))
        lines = 0
        for more, mine, theirs, committed_offsets in before:
            host.write(lines := max(lines, more))
            first.read(mine)
            second.read(theirs)
            if committed_offsets:
                first.experiment.commit()
            assert not second.experiment.take_over()
        copy = first.experiment._copy
        assert copy is not None
        copy.release()  # it is killed: what it did not commit is not there
        second.read(2)
        assert second.experiment.take_over()
        for more, _, theirs, committed_offsets in after:
            host.write(lines := max(lines, more))
            second.read(theirs)
            if committed_offsets:
                second.experiment.commit()
        host.write(LINES)
        second.read(10_000)
        second.read(10_000)
        assert second.logs == host.expected("rank_0.out") + host.expected("rank_0.1.out")
        assert second.events == [f"event {n}" for n in range(LINES)]
        second.experiment.close()
        kept = (Path(top) / "night/logs/rank_0.log").read_text().splitlines()
        assert kept == second.logs
        events = (Path(top) / "night/events.jsonl").read_text().splitlines()
        assert [json.loads(text)["text"] for text in events] == second.events


def test_the_lock_is_held_until_what_was_begun_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "host").mkdir()
    (host := Host(tmp_path / "host")).write(LINES)
    first = Console(host, Experiment.create(tmp_path / "night", ""))
    second = Console(host, Experiment.open(tmp_path / "night"))
    done, sync = threading.Event(), committed_offsets.sync
    monkeypatch.setattr("motley.remote.experiment.committed_offsets.sync", lambda *words: done.wait() and sync(*words))
    first.read(2)
    first.experiment.commit()
    copy = first.experiment._copy
    assert copy is not None
    released = threading.Thread(target=copy.release)
    released.start()
    released.join(0.5)
    assert not second.experiment.take_over()
    done.set()
    released.join()
    assert second.experiment.take_over()
    second.experiment.close()


async def test_the_console_that_stays_keeps_all_of_the_run(stage: Stage) -> None:
    first = stage.session("night", seen := Seen(), stage.cluster(steps=FOREVER))
    await first.launch()
    await seen.further(20)
    second = stage.session("night", watching := Seen())
    await second.attach()
    await watching.further(20)
    await first.close()
    await watching.until(lambda record: isinstance(record, Event) and LEFT in record.text)
    await watching.further(20)
    ended = await second.stop("enough")
    await second.close()
    assert stage.alive() == []
    assert stage.summary("night") == ended.summary
    assert stage.metrics("night") == watching.sequences()
    assert all(numbers == list(range(len(numbers))) for numbers in watching.sequences().values())
    for member in (0, 1):
        log = (stage.experiment("night") / f"logs/rank_{member}.log").read_text().splitlines()
        shown = [r.text for r in watching.records if isinstance(r, LogLine) and r.member == member]
        assert log == shown
        assert len(log) == len(set(log))
    kept = [json.loads(line) for line in (stage.experiment("night") / "events.jsonl").read_bytes().splitlines()]
    told = [(r.time, r.text) for r in watching.records if isinstance(r, Event) and r.source not in ("console", "x")]
    assert sorted((e["time"], e["text"]) for e in kept if e["source"] != "console") == sorted(told)
    assert sum(LEFT in event["text"] for event in kept) == 1


async def test_a_console_that_is_killed_at_the_end_leaves_the_rest_to_the_other_one(stage: Stage) -> None:
    """All hosts have ended but one, and files were announced that nobody has fetched."""
    first = stage.session("night", Seen(), stage.cluster(steps=60, WAITS_AT="30"))
    await first.launch()
    second = stage.session("night", watching := Seen())
    await second.attach()
    await watching.until(lambda record: isinstance(record, Sample) and record.step == 5)
    frozen = first._logbook.experiment
    copy = frozen._copy
    assert copy is not None
    frozen._copy, frozen._over = None, True  # it commits nothing, and fetches nothing, from now on
    ended = second.wait()
    stage.go_on("night")
    await watching.until(lambda record: isinstance(record, Sample) and record.step == 60)
    copy.release()
    summary = (await ended).summary
    await second.close()
    await first.close()
    assert stage.summary("night") == summary
    assert stage.metrics("night") == watching.sequences() == {0: list(range(60)), 1: list(range(60))}
    assert (stage.experiment("night") / "checkpoints/final.pt").read_bytes().startswith(b"final at 60\n")
