"""`motley serve --prometheus`: the run's metrics on a loopback port, in OpenMetrics or Prometheus' older text.

    code = serve_metrics(attach_plan(config, run, readonly=True), port=9464)

The run is followed as by `motley attach --readonly`; a reader gets what was known a second ago, and waits for nobody.
Only this machine's own names are answered to, so no web page can read it by a name of its own that leads here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from motley.console.commands.serving.run_metrics import Metric, run_metrics
from motley.console.control.run_life import RunLife
from motley.console.control.session_protocol import Plan
from motley.console.control.terminal_prompts import asker
from motley.console.state.snapshot import Snapshot
from motley.remote.errors import UsageError

ADDRESS = "127.0.0.1"
LOOK_S = 1.0
PATHS = ("/metrics", "/")
SLOW_S = 10.0  # that a reader may take to say what it wants


def serve_metrics(plan: Plan, *, port: int) -> int:
    """Until Ctrl-C, or until the run can't be followed; the address goes to stdout. Raises UsageError where the library
    is not installed, or the port is taken."""
    if importlib.util.find_spec("prometheus_client") is None:
        remedy = "pip install 'motley-cluster[prometheus]'"
        raise UsageError(f"prometheus-client is not installed where Motley is: {remedy}")
    return asyncio.run(_serve(plan, port))


async def _serve(plan: Plan, port: int) -> int:
    life = RunLife(plan, time.time, asker())
    current = [life.snapshot()]
    server = MetricsServer(port, lambda: current[0])
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    following = asyncio.ensure_future(life.first())
    try:
        with server:
            print(server.url, flush=True)
            said = False
            while not over.is_set():
                current[0] = life.snapshot()
                if following.done() and not said:
                    said = True
                    following.result()
                    if not current[0].run:  # none was found
                        break
                    told = f"'{current[0].run}' has ended: its last figures stay here until Ctrl-C"
                    print(f"motley: {told}", file=sys.stderr)
                try:
                    await asyncio.wait_for(over.wait(), LOOK_S)
                except asyncio.TimeoutError:
                    continue
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        outcome = await life.leave()
    if over.is_set():
        return 0
    print(f"motley: {outcome.text}", file=sys.stderr)
    return outcome.code


class MetricsServer:
    """Answers on threads of its own, from the newest snapshot alone. Port 0: one that is free."""

    def __init__(self, port: int, newest: Callable[[], Snapshot]) -> None:
        """Raises UsageError where the port can't be had."""
        try:
            self._server = make_server(ADDRESS, port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise UsageError(f"port {port} can't be had: {error.strerror}; name another with --port") from error
        self.port = int(self._server.server_address[1])
        self._app = _app(newest)
        self._names = {f"{name}:{self.port}" for name in (ADDRESS, "localhost", "[::1]")}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/metrics"

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_HOST", "") not in self._names:
            return _refuse(start, "403 Forbidden")
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _refuse(start, "405 Method Not Allowed")
        if environ.get("PATH_INFO") not in PATHS:
            return _refuse(start, "404 Not Found")
        found: Iterable[bytes] = self._app(environ, start)
        return found


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without asking a name server who this machine is."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    timeout = SLOW_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        """Who reads figures is no news."""


def _app(newest: Callable[[], Snapshot]) -> Callable[..., Any]:
    from prometheus_client import CollectorRegistry, make_wsgi_app

    class Collector:
        def collect(self) -> Iterator[Any]:
            return (_family(metric) for metric in run_metrics(newest()))

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    app: Callable[..., Any] = make_wsgi_app(registry)
    return app


def _family(metric: Metric) -> Any:
    """As the library has it."""
    from prometheus_client import core

    if metric.kind == "info":
        return core.InfoMetricFamily(metric.name, metric.help, dict(metric.samples[0][0]))
    if metric.kind == "state":
        return core.StateSetMetricFamily(
            metric.name, metric.help, {labels[0][1]: bool(value) for labels, value in metric.samples}
        )
    made = core.GaugeMetricFamily if metric.kind == "gauge" else core.CounterMetricFamily
    family = made(metric.name, metric.help, labels=[name for name, _ in metric.samples[0][0]])
    for labels, value in metric.samples:
        family.add_metric([text for _, text in labels], value)
    return family


def _refuse(start: Callable[..., Any], status: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{status}\n".encode()]
