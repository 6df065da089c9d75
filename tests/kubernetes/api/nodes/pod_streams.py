"""`kubectl logs` and `kubectl exec`: what the API server hands on from a pod's node."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.kubernetes.api import websocket
from tests.kubernetes.api.api_errors import ApiError, bad_request
from tests.kubernetes.api.http_server import Answer, Request, Stream, Upgrade
from tests.kubernetes.api.nodes.containers import Container
from tests.kubernetes.api.nodes.kubelet import Kubelet
from tests.kubernetes.api.nodes.pod_log import Line, PodLog
from tests.kubernetes.api.resources import PODS
from tests.kubernetes.api.store import Store

Object = dict[str, Any]
PIECE_BYTES = 2**15
TEXT = "text/plain"


def _container_of(pod: Object, request: Request) -> str:
    """Its name. Raises ApiError for one that is not there."""
    names = [one["name"] for one in pod["spec"]["containers"]]
    wanted = request.asked("container") or names[0]
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {pod['metadata']['name']}")
    return wanted


def log(request: Request, store: Store, kubelet: Kubelet, namespace: str, name: str) -> Answer | Stream:
    """Raises ApiError where there is none yet."""
    pod = store.get(PODS, namespace, name)
    container = _container_of(pod, request)
    if request.is_true("previous"):
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    found = kubelet.log_of(pod)
    if found is None:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        waiting = statuses[0]["state"].get("waiting", {}) if statuses else {}
        if not pod["spec"].get("nodeName"):
            return Answer(200, b"", TEXT)  # as a real one, of a pod that no node has
        why = waiting.get("reason", "ContainerCreating")
        why = why if why == "ContainerCreating" else f"trying and failing to pull image ({why})"
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {why}')
    return Stream(_lines(request, found), TEXT)


async def _lines(request: Request, found: PodLog) -> AsyncIterator[bytes]:
    since = request.asked("sinceTime")
    begin = datetime.datetime.fromisoformat(since.replace("Z", "+00:00")).timestamp() if since else 0.0
    if seconds := request.asked("sinceSeconds"):
        begin = datetime.datetime.now(datetime.timezone.utc).timestamp() - float(seconds)
    tail = int(request.asked("tailLines") or -1)
    left = int(request.asked("limitBytes") or -1)
    async for line in found.lines(begin_s=begin, tail=tail, follow=request.is_true("follow")):
        text = _shown(line) if request.is_true("timestamps") else line.text
        if left >= 0:
            text, left = text[:left], left - len(text)
        yield text
        if left == 0 and request.asked("limitBytes"):
            return


def _shown(line: Line) -> bytes:
    seconds, nanos = divmod(line.time_ns, 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z ".encode() + line.text


def exec_(request: Request, store: Store, kubelet: Kubelet, namespace: str, name: str) -> Upgrade:
    """Raises ApiError where nothing runs."""
    pod = store.get(PODS, namespace, name)
    container_name = _container_of(pod, request)
    container = kubelet.container_of(pod)
    if container is None:
        phase = pod.get("status", {}).get("phase", "Pending")
        if phase in ("Succeeded", "Failed"):
            raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        raise ApiError(404, "NotFound", f'container not found ("{container_name}")')
    protocol = websocket.protocol_of(request)
    if protocol is None:
        raise bad_request("Upgrade request required")
    return Upgrade(
        websocket.answer_headers(request, protocol),
        lambda reader, writer: _talk(websocket.WebSocket(reader, writer), container, request),
    )


async def _talk(socket: websocket.WebSocket, container: Container, request: Request) -> None:
    words = request.query.get("command", [])
    try:
        process = await container.exec(words, with_input=request.is_true("stdin"))
    except ProcessLookupError:
        said = "container not found: it has just ended"
        await socket.send(websocket.ERROR, json.dumps(ApiError(500, "InternalError", said).status()).encode())
        await socket.close()
        return
    reading = asyncio.ensure_future(_feed(socket, process))
    try:
        parts = [(websocket.STDOUT, process.stdout), (websocket.STDERR, process.stderr)]
        await asyncio.gather(*(_pass_on(socket, channel, stream) for channel, stream in parts if stream is not None))
        code = await process.wait()
        await socket.send(websocket.ERROR, json.dumps(_ended(words, code)).encode())
        await socket.close()
    finally:
        reading.cancel()
        # Ends it, and closes its pipes, which what it has started may hold: `wait` would wait for that, too.
        getattr(process, "_transport").close()  # noqa: B009
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            await reading


async def _feed(socket: websocket.WebSocket, process: asyncio.subprocess.Process) -> None:
    """What comes from kubectl is the process's input."""
    async for message in socket.messages():
        if process.stdin is None or not message:
            continue
        if message[0] == websocket.STDIN:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(message[1:])
                await process.stdin.drain()
        elif message[0] == websocket.CLOSED and message[1:] == bytes([websocket.STDIN]):
            process.stdin.close()


async def _pass_on(socket: websocket.WebSocket, channel: int, stream: asyncio.StreamReader) -> None:
    while piece := await stream.read(PIECE_BYTES):
        await socket.send(channel, piece)


def _ended(words: list[str], code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    if code == 127:
        said = f'exec: "{words[0]}": executable file not found in $PATH'
        return ApiError(500, "InternalError", f"Internal error occurred: {said}").status()
    said = f"command terminated with non-zero exit code: error executing command {words}, exit code {code}"
    causes = [{"reason": "ExitCode", "message": str(code if code >= 0 else 128 - code)}]
    status = {"metadata": {}, "status": "Failure", "message": said, "reason": "NonZeroExitCode"}
    return {**status, "details": {"causes": causes}}
