"""`motley serve --prometheus`, read by the client library's own parsers and by raw sockets."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from motley.console.commands.serving import prometheus
from motley.console.commands.serving.prometheus import MetricsServer
from motley.console.state.snapshot import Snapshot
from motley.remote.errors import UsageError
from tests.console.commands.serving.test_run_metrics import RUNNING
from tests.console.scripted import plan

pytest.importorskip("prometheus_client")
OPEN = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with MetricsServer(0, lambda: RUNNING) as running:
        yield running


def read(server: MetricsServer, accept: str = OPEN) -> tuple[str, str]:
    """The body, and its type."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode(), answer.headers["Content-Type"]
    finally:
        connection.close()


def values(families: Any) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("host") or sample.labels.get("motley_run_state") or ""): sample.value
        for family in families
        for sample in family.samples
    }


def test_both_texts_have_the_same_figures_by_the_library_s_own_parsers(server: MetricsServer) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families as older

    body, kind = read(server)
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")
    found = values(openmetrics(body))
    assert found[("motley_step", "")] == 12
    assert found[("motley_host_share_ratio", "desktop")] == 0.75
    assert found[("motley_run_state", "running")] == 1
    assert found[("motley_run_state", "finished")] == 0
    assert found[("motley_run_info", "")] == 1
    assert found[("motley_regroups_total", "")] == 0
    text, kind = read(server, "text/plain")
    assert kind.startswith("text/plain")
    assert values(older(text)) == found


def raw(server: MetricsServer, *lines: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return line.makefile("rb").readline().decode()


def test_only_this_machine_s_own_names_are_answered_to(server: MetricsServer) -> None:
    own = f"Host: localhost:{server.port}"
    assert " 200 " in raw(server, "GET /metrics HTTP/1.0", own)
    for host in ("Host: evil.example", f"Host: evil.example:{server.port}", "Host: localhost", "X: y"):
        assert " 403 " in raw(server, "GET /metrics HTTP/1.0", host)
    assert " 404 " in raw(server, "GET /other HTTP/1.0", own)
    assert " 405 " in raw(server, "POST /metrics HTTP/1.0", own)


def test_it_is_bound_to_loopback_and_a_port_that_is_taken_is_an_error(server: MetricsServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/metrics"
    with pytest.raises(UsageError, match=rf"port {server.port} can't be had: .*; name another with --port"):
        MetricsServer(server.port, Snapshot)


async def test_a_run_is_followed_and_its_last_figures_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[MetricsServer] = []

    class Kept(MetricsServer):
        def __enter__(self) -> MetricsServer:
            made.append(self)
            return super().__enter__()

    monkeypatch.setattr(prometheus, "MetricsServer", Kept)
    monkeypatch.setattr(prometheus, "LOOK_S", 0.01)
    serving = asyncio.ensure_future(prometheus._serve(plan(attach=True)[0], 0))
    body = ""
    while 'motley_run_state{motley_run_state="finished"} 1.0' not in body:
        await asyncio.sleep(0.01)
        assert not serving.done()
        if made:
            body, _ = await asyncio.to_thread(read, made[0])
    assert "motley_step 240.0" in body
    os.kill(os.getpid(), signal.SIGINT)
    assert await serving == 0
    out, err = capsys.readouterr()
    assert out == f"{made[0].url}\n"
    assert "motley: 'home-1' has ended: its last figures stay here until Ctrl-C" in err
