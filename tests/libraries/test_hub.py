"""Two ranks of one host that need the same model of the hub at once: each file is fetched once.

The hub is a server of this machine, which holds its answer until both have asked for the file.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.libraries
pytest.importorskip("huggingface_hub")

CONTENT = bytes(range(256)) * 4096
FETCH = "from huggingface_hub import hf_hub_download; print(hf_hub_download('org/name', 'model.safetensors'))"
PATIENCE_S = 100


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = threading.Semaphore(0)  # once for each that has asked what the file is
        self.fetched = 0


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._head()
        self.server.asked.release()

    def do_GET(self) -> None:
        if not self.path.endswith("/model.safetensors"):  # the library asks for more than the file
            self.send_error(404)
            return
        self.server.fetched += 1
        for _ in range(2):
            self.server.asked.acquire(timeout=PATIENCE_S)
        self._head()
        self.wfile.write(CONTENT)

    def _head(self) -> None:
        self.send_response(200)
        for name, value in {"ETag": '"8f5a"', "X-Repo-Commit": "a" * 40, "Content-Length": str(len(CONTENT))}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        del format, args


@pytest.fixture(name="hub")
def _hub() -> Iterator[Hub]:
    with Hub() as hub:
        serving = threading.Thread(target=hub.serve_forever)
        serving.start()
        yield hub
        hub.shutdown()
        serving.join()


def test_two_at_once_fetch_a_file_once(hub: Hub, tmp_path: Path) -> None:
    patient = {name: str(PATIENCE_S) for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")}
    where = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path)}
    env = {**where, **patient, "HF_HUB_DISABLE_XET": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", FETCH], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [one.communicate(timeout=PATIENCE_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    places = {out.decode().strip() for out, _ in answers}
    assert len(places) == 1
    assert Path(places.pop()).read_bytes() == CONTENT
    assert hub.fetched == 1
