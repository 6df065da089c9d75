"""What a host's `attach` sends, with noise in it, in any pieces, broken off anywhere: no line is lost or there twice.

The follower, the reader of its process and the experiment are real, and so is what is sent (`trainer.verbs.attach`); an
SSH session that gives given bytes stands in for the way between them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.local_names import local_name
from motley.remote.feed import FeedRecord
from motley.remote.rpc.verbs import Verbs
from motley.remote.session import follow_host
from motley.remote.session.follow_host import REREADS, HostFollower
from motley.remote.ssh.dial_errors import Watch
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import MARK
from motley.trainer.contract.wire import Beat, Chunk, Event, Folder, Sample, encode
from motley.trainer.verbs import attach
from tests.fuzz.mutation import ODD, TEXTS, cases, mutated, scratch, table, written

COUNT = 7  # lines of a file
NOISE = ["\n", "hello\n", "{\n", '"\n', "\x00\n", '{"v":1,"type":"beat"}\n', "é\n", "}\n{\n", "motley-begin\n", "\r\n"]


def event(number: int) -> Event:
    return Event(time=1.0, host="box1", source="rank 0", kind="note", text=f"é event {number}" + "," * 9 * number)


def sample(number: int) -> Sample:
    return Sample(
        seq=number, step=number + 1, epoch=0, time=1.0, host="box1", member=0, rank=0, generation=0, batch=8, loss=1.0,
        compute_ms=1.0, wait_ms=1.0, data_ms=0.0, step_ms=2.0, samples_per_s=1.0,
    )  # fmt: skip


FILES = {
    "events.jsonl": b"".join(encode(event(n)) for n in range(COUNT)),
    "rank_0.jsonl": b"".join(encode(sample(n)) for n in range(COUNT)),
    "rank_0.out": "".join(f"line {n} ü\n" for n in range(9 * COUNT)).encode(),
    "coordinator.out": b"ready\n",
}


@dataclass(slots=True)
class Faults:
    """Of one connection: noise at places in the stream, chunks from odd offsets between its lines, and its end."""

    noise: list[tuple[float, str]] = field(default_factory=list)  # places from 0 to 1; below: bytes from the end
    again: list[tuple[int, str, int]] = field(default_factory=list)  # before which line, which file, from which line
    ends_at: float | None = None  # broken off there
    code: int | None = 0  # its exit code; None: the connection was lost with it
    pieces: list[int] = field(default_factory=lambda: [1 << 16])  # how many bytes come at a time


FAULTS = st.builds(
    Faults,
    noise=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(NOISE)), max_size=3),
    again=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(sorted(FILES)), st.integers(0, COUNT)), max_size=3),
    ends_at=st.none() | st.floats(0, 1),
    code=st.sampled_from([0, 0, 1, None]),
    pieces=st.lists(st.integers(1, 9) | st.integers(1, 4000), min_size=1, max_size=6),
)


def faulty(lines: list[bytes], folder: Path, faults: Faults) -> bytes:
    """The lines as they come through."""
    for before, file, first in sorted(faults.again, reverse=True):
        start = len(b"".join(FILES[file].splitlines(keepends=True)[:first]))
        chunks = attach.new_chunks(folder, {**dict.fromkeys(FILES, 1 << 30), file: start}, whole=True)
        lines[before:before] = [encode(chunk) for chunk in chunks]
    data = b"".join(lines)
    for place, noise in faults.noise:
        at = int(place * len(data) if place >= 0 else len(data) + place)
        data = data[:at] + noise.encode() + data[at:]
    return data if faults.ends_at is None else data[: int(faults.ends_at * len(data))]


class Pieces:
    """A stream that gives given pieces."""

    def __init__(self, data: bytes = b"", sizes: list[int] | None = None) -> None:
        self._data = data
        self._sizes = itertools.cycle(sizes or [1 << 16])

    async def read(self, most: int) -> bytes:
        size = min(most, next(self._sizes))
        piece, self._data = self._data[:size], self._data[size:]
        return piece


class Way:
    """To a host that has the files: connections with the faults that are given, then good ones."""

    def __init__(self, folder: Path, faults: list[Faults], experiment: Experiment) -> None:
        self.folder = folder
        self.faults = faults
        self.experiment = experiment
        self.opened = 0
        self.tree = SimpleNamespace(folder="tree")
        self.hosts = SimpleNamespace(take_commands=True, printed=self.printed)
        self.instance, self.moves = "", False

    async def connection(self, _host: str) -> Way:
        return self

    async def printed(self, _host: str) -> list[Any]:
        """No log of it is anywhere else."""
        return []

    def argv(self, *_words: str) -> list[str]:
        return ["attach"]

    @asynccontextmanager
    async def stream(self, _argv: list[str], **_options: Any) -> AsyncIterator[RemoteProcess]:
        faults = self.faults[self.opened] if self.opened < len(self.faults) else Faults()
        self.opened += 1
        session, watch = Session(self, faults), Watch()
        if faults.code is None:
            watch.ended.set()
        process = RemoteProcess("box1", cast("asyncssh.SSHClientProcess[bytes]", session), watch)
        try:
            yield process
        finally:
            await process.close()

    def answer(self, offsets: dict[str, int], faults: Faults) -> bytes:
        self.check(offsets)
        lines = [encode(chunk) for chunk in attach.new_chunks(self.folder, offsets, whole=True)]
        return faulty([*lines, encode(Beat(time=1.0, state={"state": "finished"}))], self.folder, faults)

    def check(self, offsets: dict[str, int]) -> None:
        """What is kept is the beginning of each file, as far as the offsets say."""
        self.experiment.commit()
        for file, whole in FILES.items():
            path = self.experiment.folder / str(local_name(file))
            assert (path.read_bytes() if path.exists() else b"") == whole[: offsets.get(file, 0)], file


class Session:
    """What `RemoteProcess` needs of an SSH session: it answers the offsets that are written to it."""

    exit_signal = None

    def __init__(self, way: Way, faults: Faults) -> None:
        self._way = way
        self._faults = faults
        self.exit_status = faults.code
        self.stdin = self
        self.stdout = self.stderr = Pieces()
        self.channel = SimpleNamespace(abort=lambda: None)

    def write(self, data: bytes) -> None:
        offsets = json.loads(data)["offsets"]
        sent = f"Welcome\n{MARK}\n".encode() + self._way.answer(offsets, self._faults)
        self.stdout = Pieces(sent, self._faults.pieces)

    async def drain(self) -> None: ...

    async def wait_closed(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """No pause before a connection is opened again, and files that are more than one chunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow_host, "backoff", lambda: itertools.repeat(0.0))
        patch.setattr(attach, "CHUNK_BYTES", 400)
        yield


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


async def followed(way: Way) -> list[FeedRecord]:
    """All that is told until the end."""
    told: list[FeedRecord] = []
    verbs = cast(Verbs, way)
    assert (
        await HostFollower("box1", "night", verbs=verbs, experiment=way.experiment, emit=told.append).run()
        == "finished"
    )
    return told


@cases(50)
@given(st.lists(FAULTS, max_size=4).filter(lambda faults: sum(bool(f.noise) for f in faults) <= REREADS))
def test_noise_and_breaks_lose_nothing_and_repeat_nothing(host: Path, faults: list[Faults]) -> None:
    with scratch() as folder:
        way = Way(host, faults, Experiment.open(Path(folder)))
        told = asyncio.run(followed(way))
        way.check({name: len(content) for name, content in FILES.items()})
        assert [record.seq for record in told if isinstance(record, Sample)] == list(range(COUNT))
        assert [r.text for r in told if isinstance(r, Event) and r.kind == "note" and r.source != "console"] == [
            event(n).text for n in range(COUNT)
        ]
        assert way.opened <= len(faults) + REREADS + 1
        way.experiment.close()


CHUNK = table(
    {
        "v": st.just(1), "type": st.just("chunk"), "file": st.sampled_from([*FILES, "rank_1.3.out", "../x"]),
        "start": st.integers(0, 9), "end": st.integers(0, 9), "text": st.sampled_from(["ab\n", "a", ""]) | TEXTS,
    }
)  # fmt: skip
LIES = st.one_of(
    CHUNK.map(written),
    mutated(st.sampled_from([encode(Chunk(file="rank_0.out", start=0, end=2, text="a\n")).decode()]), ["1", "\n", "}"]),
    st.builds(Beat, time=st.just(1.0), state=st.dictionaries(TEXTS | st.just("state"), ODD, max_size=2)).map(
        lambda beat: encode(beat).decode()
    ),
    (st.sampled_from(["0" * 16, "f" * 16, ""]) | TEXTS).map(lambda name: encode(Folder(id=name)).decode()),
    st.sampled_from(NOISE),
    TEXTS,
)


@given(st.lists(LIES, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=4), st.booleans())
def test_a_host_that_lies_harms_only_what_is_kept_of_itself(
    host: Path, lies: list[str], pieces: list[int], moves: bool
) -> None:
    class Lying(Way):
        def answer(self, _offsets: dict[str, int], _faults: Faults) -> bytes:
            if self.opened == 1:
                return "\n".join([*lies, ""]).encode(errors="surrogatepass")
            return encode(Beat(time=1.0, state={"state": "finished"}))

    with scratch() as folder:
        experiment = Experiment.open(Path(folder))
        way = Lying(host, [Faults(pieces=pieces)], experiment)
        way.moves = moves
        asyncio.run(followed(way))
        folders = experiment.wanted("box1", several=True)["folders"]
        assert moves or folders.keys() <= {""}
        offsets = [one for known in folders.values() for one in known["offsets"].items()]
        assert all(local_name(file) is not None and 0 < end < 2**63 for file, end in offsets)
        experiment.close()
        again = Experiment.open(Path(folder))
        assert again.wanted("box1", several=True)["folders"] == folders
        assert len(list(again.replay())) >= len(offsets)
        again.close()
        assert {path.parent.name for path in Path(folder).rglob("*") if path.is_file()} <= {Path(folder).name, "logs"}


IN_THE_LAST_CHUNK = -200  # bytes from the end, where the last line says that the run is over


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Faults(noise=[(0.1, "hello\n")])], id="noise in an early line: later ones show the gap"),
        pytest.param(
            [Faults(noise=[(IN_THE_LAST_CHUNK, "hello\n")])], id="noise in the last lines: nothing comes after them"
        ),
        pytest.param(
            [Faults(noise=[(IN_THE_LAST_CHUNK, "hello\n")]), Faults(ends_at=0.0)], id="then a connection without a word"
        ),
        pytest.param([Faults(again=[(2, "rank_0.out", 30)])], id="a chunk from beyond"),
        pytest.param([Faults(again=[(9, "events.jsonl", 1)]), Faults(ends_at=0.5, code=None)], id="a chunk once more"),
    ],
)
def test_faults_that_once_lost_lines(host: Path, tmp_path: Path, faults: list[Faults]) -> None:
    way = Way(host, faults, Experiment.open(tmp_path))
    asyncio.run(followed(way))
    way.check({name: len(content) for name, content in FILES.items()})
    way.experiment.close()


def test_noise_that_comes_every_time_does_not_hold_up_the_end(host: Path, tmp_path: Path) -> None:
    way = Way(host, [Faults(noise=[(IN_THE_LAST_CHUNK, "hello\n")])] * 9, Experiment.open(tmp_path))
    told = asyncio.run(followed(way))
    assert way.opened == REREADS + 1
    assert sum("unreadable line" in record.text for record in told if isinstance(record, Event)) >= REREADS
    way.experiment.close()
