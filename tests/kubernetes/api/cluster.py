"""`Kubernetes`: the cluster that a test drives; the package's own docstring says how."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.kubernetes.api import certificate, kubectl, tables
from tests.kubernetes.api.http_server import Server
from tests.kubernetes.api.nodes import containers, pod_network
from tests.kubernetes.api.nodes.kubelet import Kubelet
from tests.kubernetes.api.operators.operators import Operators
from tests.kubernetes.api.resources import BY_PLURAL
from tests.kubernetes.api.routes import Routes
from tests.kubernetes.api.settings import Node, Settings
from tests.kubernetes.api.store import Object, Store
from tests.kubernetes.api.verbs import Verbs

T = TypeVar("T")
CONTEXT = "tests"
NAMESPACES = ("default", "training")
LOOK_S = 0.05
BOUND_S = 60.0


class Kubernetes:
    def __init__(self, folder: Path, *, own_networks: bool = True) -> None:
        """Without `own_networks`, and where pods can't have any, all of them share this machine's loopback."""
        self.own_networks = own_networks and pod_network.why_not() is None
        self.folder = folder / "kubernetes"
        self.folder.mkdir()
        self.settings = Settings(token=secrets.token_hex(16))
        self.mark = secrets.token_hex(8)
        self.kubeconfig = self.folder / "kubeconfig"
        self._started: list[subprocess.Popen[str]] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes", daemon=True)
        self._kubeconfigs = 0

    def __enter__(self) -> Kubernetes:
        self._thread.start()
        self._ready.wait()
        self.kubeconfig_with().rename(self.kubeconfig)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        ends = time.monotonic() + BOUND_S
        while (left := self.processes()) and time.monotonic() < ends:
            time.sleep(LOOK_S)
        assert not left, f"processes of pods are left: {left}"
        if error is not None and isinstance(error, AssertionError):
            error.args = (f"{error}\n{self.state()}",)

    # What a test uses.

    @property
    def env(self) -> dict[str, str]:
        found = kubectl.path()
        first = f"{found.parent}{os.pathsep}" if found else ""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{first}{os.environ['PATH']}"}

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._server.port}"

    def kubectl(
        self,
        *words: str | Path,
        given: str | None = None,
        timeout_s: float = BOUND_S,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        env = {**self.env, **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})}
        fed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
        return subprocess.run(
            ["kubectl", *map(str, words)],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            **fed,
        )

    def popen(self, *words: str | Path) -> subprocess.Popen[str]:
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(["kubectl", *map(str, words)], env=self.env, text=True, **quiet)
        self._started.append(process)
        return process

    def objects(self, resource: str) -> list[Object]:
        return self._do(lambda: self._store.list(resource))

    def object(self, resource: str, name: str) -> Object | None:
        return next((table for table in self.objects(resource) if table["metadata"]["name"] == name), None)

    def phase(self, pod: str) -> str:
        found = self.object("pods", pod)
        return "" if found is None else tables.phase(found)

    def log(self, pod: str) -> str:
        def text() -> str:
            found = self._kubelet.log_of(self._pod(pod))
            return found.text.decode(errors="replace") if found is not None else ""

        return self._do(text)

    def until(self, condition: Callable[[], Any], what: str = "", within_s: float = 120.0) -> None:
        ends = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > ends:
                raise AssertionError(f"not within {within_s:.0f} s: {what or condition}")
            time.sleep(LOOK_S)

    def processes(self) -> list[int]:
        return containers.marked(self.mark)

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        return list(self._routes.requests)

    def home(self, claim: str, namespace: str = "default") -> Path:
        return self._kubelet.home(namespace, claim)

    def state(self) -> str:
        """For people: pods, events, and the ends of logs."""
        lines = [f"{p['metadata']['name']}: {tables.phase(p)}" for p in self.objects("pods")]
        lines += [f"{e['involvedObject']['name']}: {e['reason']}: {e['message']}" for e in self.objects("events")]
        lines += [
            f"== {p['metadata']['name']}\n{self.log(p['metadata']['name'])[-3000:]}" for p in self.objects("pods")
        ]
        return "\n".join(lines)

    # What a test does to it.

    @property
    def nodes(self) -> list[Node]:
        return self.settings.nodes

    @nodes.setter
    def nodes(self, nodes: list[Node]) -> None:
        self.settings.nodes = nodes
        self._do(self._store.wake)

    @property
    def images(self) -> set[str] | None:
        return self.settings.images

    @images.setter
    def images(self, images: set[str] | None) -> None:
        self.settings.images = images
        self._do(self._store.wake)

    @property
    def storage_classes(self) -> set[str]:
        return self.settings.storage_classes

    @storage_classes.setter
    def storage_classes(self, classes: set[str]) -> None:
        self.settings.storage_classes = classes
        self._do(self._store.wake)

    @property
    def quota(self) -> dict[str, int]:
        return self.settings.quota

    def hold(self, reason: str, message: str = "", *, pod: str = "") -> None:
        self.settings.held[pod] = (reason, message)

    def release(self) -> None:
        self.settings.held.clear()
        self._do(self._store.wake)

    def evict(self, pod: str, *, replaced: bool = False) -> None:
        self._do(lambda: self._kubelet.evict(self._taken(pod, replaced)))

    def node_dies(self, pod: str, *, replaced: bool = False) -> None:
        self._do(lambda: self._kubelet.lose(self._taken(pod, replaced)))

    def unplug(self, pod: str) -> None:
        self._do(lambda: self._kubelet.host_of(self._pod(pod)).unplug())

    def plug(self, pod: str) -> None:
        self._do(lambda: self._kubelet.host_of(self._pod(pod)).plug())

    def forbid(self, verb: str, resource: str) -> None:
        self.settings.forbidden.add((verb, resource))

    def remove_kind(self, resource: str) -> None:
        self.settings.removed.add(resource)

    def refuse_admission(self, resource: str, message: str) -> None:
        self.settings.refused[resource] = message

    def add_namespace(self, name: str) -> None:
        self._do(lambda: self._store.create(BY_PLURAL["namespaces"], "", {"metadata": {"name": name}}))

    def log_keeps(self, pod: str, size: int) -> None:
        def cut() -> None:
            if (found := self._kubelet.log_of(self._pod(pod))) is not None:
                found.keep_last(size)

        self._do(cut)

    def log_loses(self, pod: str, lines: int) -> None:
        def lose() -> None:
            if (found := self._kubelet.log_of(self._pod(pod))) is not None:
                found.lose(lines)

        self._do(lose)

    def cut_streams(self) -> None:
        self._call(self._server.cut_streams())

    def fails_for(self, seconds: float) -> None:
        self.settings.failing_until = time.monotonic() + seconds

    def stop_answering(self) -> None:
        self._call(self._server.stop())

    def answer_again(self) -> None:
        self._call(self._server.start())

    def kubeconfig_with(
        self, *, token: str | None = None, context: str = CONTEXT, namespace: str = "default", server: str | None = None
    ) -> Path:
        self._kubeconfigs += 1
        file = self.folder / f"kubeconfig-{self._kubeconfigs}"
        written = certificate.kubeconfig(
            server=server or self.server, certificate=self._certificate, token=token or self.settings.token,
            context=context, namespace=namespace,
        )  # fmt: skip
        file.write_text(written)
        return file

    # Its own thread.

    def _pod(self, name: str) -> Object:
        found = next((pod for pod in self._store.list("pods") if pod["metadata"]["name"] == name), None)
        assert found is not None, f"there is no pod {name}"
        return found

    def _taken(self, pod: str, replaced: bool) -> Object:
        found = self._pod(pod)
        if not replaced:
            self.settings.left.add(found["metadata"]["uid"])
        return found

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> None:
        context, self._certificate = certificate.make(self.folder)
        self._store = Store()
        self._kubelet = Kubelet(self._store, self.settings, self.folder, self.mark, own_networks=self.own_networks)
        self._operators = Operators(self._store, self.settings, Verbs(self._store, self.settings))
        self._routes = Routes(self._store, self.settings, self._kubelet)
        for name in NAMESPACES:
            table = {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
            self._store.create(BY_PLURAL["namespaces"], "", {**table, "status": {"phase": "Active"}})
        self._server = Server(self._routes.answer, context)
        await self._server.start()
        self._syncing = asyncio.ensure_future(self._sync())

    async def _sync(self) -> None:
        """What has changed is looked at, until nothing changes."""
        while True:
            news = self._store.news
            self._operators.sync()
            self._kubelet.sync()
            if not news.is_set():
                await news.wait()
            await asyncio.sleep(0)

    async def _close(self) -> None:
        self._syncing.cancel()
        try:
            await self._syncing  # what went wrong in it is told
        except asyncio.CancelledError:
            pass
        finally:
            await self._kubelet.close()
            await self._server.stop()

    def _do(self, what: Callable[[], T]) -> T:
        """In the thread of the cluster."""

        async def done() -> T:
            return what()

        return self._call(done())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(BOUND_S)
