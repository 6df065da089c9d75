"""What a pod prints of a run's files, and what is made of it again by whoever reads its log."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from motley.remote.hosts.pod_lines import Line, line_of, parts
from motley.trainer.contract.wire import Beat, Chunk, Event, encode
from motley.trainer.host.paths import write_json
from motley.trainer.pod.records import Records

STAMP = "2026-11-24T20:00:00.123456789Z"
EVENT = Event(time=1.0, host="big", source="rank 0", kind="note", text='a "line":5} of \\ "file":"x"', data={"line": 5})


def lines_of(printed: bytes) -> list[Line]:
    found = [line_of(f"{STAMP} ".encode() + line) for line in printed.splitlines(keepends=True)]
    assert all(found)
    return [line for line in found if line is not None]


def rebuilt(lines: list[Line]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for line in lines:
        if isinstance(line.record, Chunk):
            chunk = line.record
            assert chunk.start == len(files.get(chunk.file, b""))
            files[chunk.file] = files.get(chunk.file, b"") + chunk.text.encode()
            assert chunk.end == len(files[chunk.file])
    return files


def test_each_file_is_there_again_byte_for_byte(tmp_path: Path) -> None:
    out = io.BytesIO()
    records = Records(tmp_path, out)
    records.say(EVENT)
    wanted = {
        "events.jsonl": encode(EVENT) * 2 + b"\n" + b'{"half": \n' + encode(EVENT),
        "rank_0.jsonl": b'{"v":1,"type":"sample"}\n' * 3,
        "rank_0.out": 'one\ntwo \u20ac "line":7}\n'.encode(),
    }
    write_json(tmp_path / "state.json", {"state": "running"})
    for name, content in wanted.items():
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    records.print_new()
    for name, content in wanted.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "summary.json").write_text('{\n "state": "finished"\n}\n')
    write_json(tmp_path / "state.json", {"state": "finished"})
    records.print_new()
    records.print_new(whole=True)

    lines = lines_of(out.getvalue())

    assert [line.number for line in lines] == list(range(len(lines)))
    assert {line.stamp for line in lines} == {STAMP}
    assert lines[0].record == EVENT
    assert rebuilt(lines) == {**wanted, "summary.json": (tmp_path / "summary.json").read_bytes()}
    states = [line.record.state["state"] for line in lines if isinstance(line.record, Beat)]
    assert states == ["running", "finished"]
    last = lines[-2].record
    assert isinstance(last, Chunk)
    assert json.loads(last.text) == {"state": "finished"}  # before the word that the run is over


def test_bytes_that_are_no_text_keep_their_place(tmp_path: Path) -> None:
    out = io.BytesIO()
    (tmp_path / "events.jsonl").write_bytes(b'{"v":1,"x":"\xff"}\n' + encode(EVENT))
    (tmp_path / "rank_0.out").write_bytes(b"\xff\xfe\n")

    Records(tmp_path, out).print_new()

    chunks = [line.record for line in lines_of(out.getvalue()) if isinstance(line.record, Chunk)]
    assert [(chunk.file, chunk.start, chunk.end) for chunk in chunks] == [
        ("events.jsonl", 0, (tmp_path / "events.jsonl").stat().st_size),
        ("rank_0.out", 0, 3),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"motley: MOTLEY_TOKEN is not set",
        f"{STAMP} Traceback (most recent call last):".encode(),
        f"{STAMP} ".encode() + encode(EVENT),  # of an older Motley: without a number
        f'{STAMP} {{"v":1,"type":"nonsense","line":3}}'.encode(),
        f'{STAMP} {{"v":1,"type":"event","line":-3}}'.encode(),
        f'{STAMP} {{"v":1,"file":"../x","start":3,"line":3}}'.encode(),
    ],
)
def test_what_is_no_line_of_a_pod_s_is_left(text: bytes) -> None:
    assert line_of(text) is None


def test_a_chunk_is_cut_where_one_part_is_known_already() -> None:
    chunk = Chunk(file="rank_0.out", start=10, end=18, text="ab\ncdefg")
    assert parts(chunk, (0, 10, 18, 40)) == [chunk]
    assert [(p.start, p.end, p.text) for p in parts(chunk, (13, 13))] == [(10, 13, "ab\n"), (13, 18, "cdefg")]
    odd = Chunk(file="rank_0.out", start=0, end=2, text="\ufffd\n")
    assert parts(odd, (1,)) == [odd]
