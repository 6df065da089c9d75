"""Where data sets are looked for, and downloads: checked, whole, once a host, and clear when they fail."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import DataOptions
from motley.trainer.errors import DataError
from motley.trainer.tasks.data_location import Source, find, own_folder
from motley.trainer.tasks.download import Archive, fetch

CONTENT = os.urandom(3 << 20)


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /whole, half of it at /half; counts what is asked for. /slow waits until `go` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.go = threading.Event()

    def archive(self, path: str, md5: str = hashlib.md5(CONTENT).hexdigest()) -> Archive:
        return Archive(name="data.gz", url=f"http://127.0.0.1:{self.server_port}/{path}", md5=md5)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/slow":
            assert self.server.go.wait(20)
        if self.path not in ("/whole", "/half", "/slow"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, *_args: Any, **_named: Any) -> None:
        """Not on the tests' output."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_download_shows_its_progress_and_happens_once(tmp_path: Path, server: Server) -> None:
    notes: list[tuple[str, float | None]] = []
    folder = tmp_path / "not" / "there" / "yet"
    for _ in range(2):
        path = fetch(server.archive("whole"), folder, lambda text, fraction: notes.append((text, fraction)))
        assert path.read_bytes() == CONTENT
    assert server.asked == ["/whole"]
    fractions = [fraction for _, fraction in notes]
    assert {text for text, _ in notes} == {"downloading data.gz"}
    assert fractions == sorted(fractions, key=lambda f: f or 0)
    assert fractions[-1] == 1.0


def test_two_ranks_of_a_host_download_once(tmp_path: Path, server: Server) -> None:
    """The second says that it waits for the first, which gets its bytes only then."""
    notes: list[str] = []

    def note(text: str, _fraction: float | None) -> None:
        notes.append(text)
        if text.startswith("waiting"):
            server.go.set()

    found: list[Path] = []
    archive = server.archive("slow")
    ranks = [threading.Thread(target=lambda: found.append(fetch(archive, tmp_path / "set", note))) for _ in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(20)
    assert found == [tmp_path / "set" / "data.gz"] * 2
    assert server.asked == ["/slow"]
    assert notes.count("waiting for another rank to download set") == 1


@pytest.mark.parametrize(
    ("path", "cause"),
    [("nothing", "Not Found"), ("half", f"ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes")],
)
def test_a_failed_download_names_the_address_and_how_to_do_it_by_hand(
    tmp_path: Path, server: Server, path: str, cause: str
) -> None:
    archive = server.archive(path)
    with pytest.raises(DataError) as caught:
        fetch(archive, tmp_path, lambda *_: None)
    assert archive.url in caught.value.cause
    assert cause in caught.value.cause
    assert f"put it on this host as {tmp_path / 'data.gz'}" in caught.value.remedy
    assert "[data] path" in caught.value.remedy
    assert os.listdir(tmp_path) == [".lock"]


def test_offline_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        port = nobody_listens.getsockname()[1]
        archive = Archive(name="data.gz", url=f"http://127.0.0.1:{port}/whole", md5="")
        with pytest.raises(DataError, match=r"/whole: can't be downloaded \(.*Connection refused"):
            fetch(archive, tmp_path, lambda *_: None)


def test_a_download_with_another_checksum_is_thrown_away(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DataError, match="expected a file with MD5 c0ffee, found") as caught:
        fetch(server.archive("whole", md5="c0ffee"), tmp_path, lambda *_: None)
    assert caught.value.remedy.startswith("Try again.")
    assert os.listdir(tmp_path) == [".lock"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/set/data\.gz: can't be written"):
        fetch(server.archive("whole"), tmp_path / "file" / "set", lambda *_: None)


def source(server: Server, system: Path | None = None) -> Source:
    """A data set of one file."""

    def missing(folder: Path) -> tuple[str, ...]:
        return () if (folder / "data.gz").is_file() else ("data.gz",)

    return Source(
        name="some_set",
        archives=(server.archive("whole"),),
        missing=missing,
        some=lambda folder: not missing(folder),
        system=system,
    )


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "data.gz").touch()
    return folder


def test_folders_are_searched_in_order(tmp_path: Path, home: Path, server: Server) -> None:
    notes: list[str] = []

    def look(options: DataOptions) -> Path:
        return find(source(server, tmp_path / "system"), options, lambda text, _: notes.append(text))

    system = put(tmp_path / "system")
    assert look(DataOptions()) == system
    own = put(own_folder("some_set"))
    assert own == home / ".motley" / "data" / "some_set"
    assert look(DataOptions()) == own
    assert look(DataOptions(path=str(tmp_path / "named"))) == own
    assert notes == [f"{tmp_path / 'named'} holds no some_set: looking elsewhere"]
    named = put(tmp_path / "named")
    assert look(DataOptions(path=str(named))) == named
    named.rename(home / "named")
    assert look(DataOptions(path="~/named")) == home / "named"
    assert server.asked == []


def test_what_is_nowhere_is_downloaded_into_the_home(home: Path, server: Server) -> None:
    folder = find(source(server), DataOptions(), lambda *_: None)
    assert folder == home / ".motley" / "data" / "some_set"
    assert (folder / "data.gz").read_bytes() == CONTENT


def test_without_download_the_error_names_every_folder_searched(tmp_path: Path, home: Path, server: Server) -> None:
    options = DataOptions(path=str(tmp_path / "named"), download=False)
    with pytest.raises(DataError) as caught:
        find(source(server, tmp_path / "system"), options, lambda *_: None)
    searched = f"{tmp_path / 'named'}, {home}/.motley/data/some_set, {tmp_path / 'system'}"
    assert caught.value.cause == f"some_set: not found in {searched}, and [data] download is off"
    assert "Put data.gz into one of them" in caught.value.remedy
    assert server.asked == []
