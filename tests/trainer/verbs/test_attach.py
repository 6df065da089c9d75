"""What a viewer of a host's files gets: whole lines, each once, from any offset, in the order they were written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.contract.wire import Beat, Chunk, Folder, decode
from motley.trainer.host import processes
from motley.trainer.host.paths import write_json
from motley.trainer.verbs.attach import attach, folder_id, followed, new_chunks, wait_for_end
from tests.trainer.supervisor.test_supervisor import eventually


def read(folder: Path, offsets: dict[str, int], *, whole: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for chunk in new_chunks(folder, offsets, whole=whole):
        assert chunk.start == offsets.get(chunk.file, 0)
        offsets[chunk.file] = chunk.end
        found[chunk.file] = found.get(chunk.file, "") + chunk.text
    return found


def test_files_of_a_member_come_in_the_order_they_were_opened(tmp_path: Path) -> None:
    for number in ("", ".1", ".2", ".10"):
        (tmp_path / f"rank_0{number}.jsonl").touch()
    (tmp_path / "rank_10.out").touch()
    (tmp_path / "rank_9.out").touch()
    (tmp_path / "spec.json").touch()
    names = ["rank_0.jsonl", "rank_0.1.jsonl", "rank_0.2.jsonl", "rank_0.10.jsonl", "rank_9.out", "rank_10.out"]
    assert followed(tmp_path) == ["events.jsonl", "coordinator.out", *names]


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    path, offsets = tmp_path / "rank_0.jsonl", {"events.jsonl": 0}
    path.write_text("one\ntw")
    assert read(tmp_path, offsets) == {"rank_0.jsonl": "one\n"}
    assert read(tmp_path, offsets) == {}
    path.write_text("one\ntwo\nthr")
    assert read(tmp_path, offsets) == {"rank_0.jsonl": "two\n"}
    assert read(tmp_path, offsets, whole=True) == {"rank_0.jsonl": "thr"}


def test_a_chunk_ends_at_the_border_and_the_next_one_begins_there(tmp_path: Path) -> None:
    (tmp_path / "rank_0.out").write_text("one\ntwo\nthree\n")
    ends = []
    for border in (0, 4, 5, 14, 99):
        chunks = new_chunks(tmp_path, {"rank_0.out": 0}, whole=False, borders={"rank_0.out": border})
        ends.append([(chunk.end, chunk.text) for chunk in chunks])
    whole = [(14, "one\ntwo\nthree\n")]
    assert ends == [whole, [(4, "one\n"), (14, "two\nthree\n")], [(5, "one\nt"), (14, "wo\nthree\n")], whole, whole]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20), max_size=30), st.data())
def test_any_cuts_give_every_line_once(lines: list[str], data: st.DataObject) -> None:
    """The file grows by any number of bytes between two looks; offsets are all that is kept of the look before."""
    with tempfile.TemporaryDirectory() as name:
        path, offsets, seen = Path(name) / "rank_3.out", {"events.jsonl": 0}, ""
        content = "".join(f"{line}\n" for line in lines).encode()
        written = 0
        while written < len(content):
            step = data.draw(st.integers(1, len(content) - written))
            with path.open("ab") as file:
                file.write(content[written : written + step])
            written += step
            seen += read(Path(name), offsets).get("rank_3.out", "")
        assert seen.encode() == content


def test_a_run_is_over_for_a_viewer_once_its_supervisor_is_gone_too(tmp_path: Path) -> None:
    env = {"MOTLEY_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=env) as supervisor:
        assert supervisor.stdin is not None
        eventually(lambda: processes.tagged(tmp_path) == [supervisor.pid], "it is up")
        threading.Timer(0.2, supervisor.stdin.close).start()
        wait_for_end(tmp_path, {"pid": supervisor.pid})
        assert processes.tagged(tmp_path) == []


def test_who_knows_several_folders_is_told_which_one_it_is_before_anything_of_it(tmp_path: Path) -> None:
    """A folder is known by its first event: until then nothing is sent."""
    (tmp_path / "rank_0.out").write_text("one\ntwo\n")
    reader, writer = os.pipe()
    os.write(writer, b'{"offsets": {"rank_0.out": 8}, "folders": {"another": {"offsets": {"rank_0.out": 8}}}}\n')
    sent = io.BytesIO()

    with os.fdopen(reader, "rb", buffering=0) as stdin:
        viewer = threading.Thread(target=attach, args=(tmp_path, stdin, sent))
        viewer.start()
        eventually(lambda: sent.getvalue().count(b'"type":"beat"') == 1, "a beat")
        assert [type(decode(line)) for line in sent.getvalue().splitlines()] == [Beat]
        (tmp_path / "events.jsonl").write_text("an event\n")
        write_json(tmp_path / "state.json", {"state": "finished"})
        viewer.join(30)
    os.close(writer)

    told = [record for record in map(decode, sent.getvalue().splitlines()) if not isinstance(record, Beat)]
    assert told[0] == Folder(id=folder_id(tmp_path)) != Folder(id="")
    assert [(c.file, c.start) for c in told[1:] if isinstance(c, Chunk)] == [("events.jsonl", 0), ("rank_0.out", 0)]


def test_the_folder_that_it_is_goes_on_where_it_was_read_to(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("an event\n")
    own = folder_id(tmp_path)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write("another\n")
    (tmp_path / "state.json").write_text('{"state": "finished"}')
    known = {"another": {"offsets": {"events.jsonl": 3}}, own: {"offsets": {"events.jsonl": 9}, "borders": {}}}
    sent = io.BytesIO()

    assert attach(tmp_path, io.BytesIO(json.dumps({"offsets": {}, "folders": known}).encode()), sent) == 0

    told = [record for record in map(decode, sent.getvalue().splitlines()) if not isinstance(record, Beat)]
    assert [told[0], *((c.start, c.text) for c in told[1:] if isinstance(c, Chunk))] == [
        Folder(id=own),
        (9, "another\n"),
    ]
