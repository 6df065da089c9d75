"""A pod's records by `kubectl logs`: each of them once, in order, through every stream that is cut off.

It needs no right to run commands in the pod, and the pod may have ended. Lines are told apart by their number
(`trainer.pod.records`). A stream goes on with `--since-time`, at the last line that came; so does one in which numbers
are missing. What is missing then, too, the node has no longer: it keeps the newest part of a log.

    >>> log = PodLog(kubectl, pod)
    >>> async for said in log.records():
    ...     print(said)         # a Record, Quiet, or Missing
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Union

from motley.remote.config.cluster import Host
from motley.remote.config.sections import KubernetesKeys
from motley.remote.errors import Unreachable
from motley.remote.hosts.kubectl import Kubectl
from motley.remote.hosts.kubectl_errors import told
from motley.remote.hosts.pod_lines import line_of
from motley.remote.hosts.pods import Seen, of_run, seen
from motley.trainer.contract.wire import Record

QUIET_S = 0.5  # without a line: what was there before has come
STALE_S = 35.0  # without a line a stream is taken for dead; a pod says something every 10 s
AGAIN_S, AGAIN_MOST_S = 0.2, 3.0  # between two streams


class Quiet(NamedTuple):
    """All that the pod has told so far has been handed over."""


class Missing(NamedTuple):
    lines: int  # that the node had no longer


Said = Union[Record, Quiet, Missing]


class PodLog:
    """Of one pod, which may have ended. It may be read again after an error, and goes on where it was."""

    def __init__(self, kubectl: Kubectl, pod: Seen) -> None:
        self.instance = pod.uid
        self.is_over = pod.phase in ("gone", "ends")  # no command can be run in it any more
        self._kubectl, self._pod = kubectl, pod
        self._number, self._stamp = -1, ""  # of the last line
        self._missed_before = -1  # the line before which some were missing when it was asked for again
        self._again = False  # the stream ended for that

    async def records(self) -> AsyncGenerator[Said, None]:
        """Until the pod has ended, and all that is there has come. Raises Unreachable where the cluster, or the pod's
        node, does not give it."""
        pause_s, ended = AGAIN_S, self._pod.phase == "gone"
        while True:
            before = self._number
            async with aclosing(self._stream(follow=not ended)) as stream:
                async for said in stream:
                    yield said
            if self._again:
                continue
            if ended:
                return
            pod = await self._now()
            if pod is None:
                return
            ended = pod.phase == "gone"
            pause_s = AGAIN_S if self._number > before else min(2 * pause_s, AGAIN_MOST_S)
            await asyncio.sleep(0.0 if ended else pause_s)

    async def _stream(self, *, follow: bool) -> AsyncGenerator[Said, None]:
        """What one `kubectl logs` gives beyond the last line; it ends where lines are missing for the first time."""
        words = ["logs", self._pod.name, "-c", self._pod.container, "--timestamps"]
        words += [f"--since-time={self._stamp}"] * bool(self._stamp) + ["-f"] * follow
        async with self._kubectl.stream(*words) as stream:
            quiet = self._again = False
            before = self._number
            while (text := await stream.line(STALE_S if quiet else QUIET_S)) != b"":
                if text is None:
                    if quiet:
                        return
                    quiet = True
                    yield Quiet()
                    continue
                line = line_of(text)
                if line is None or line.number <= self._number:
                    continue
                if (missing := line.number - self._number - 1) and self._missed_before != line.number:
                    self._missed_before, self._again = line.number, True
                    return
                if missing:
                    yield Missing(missing)
                self._number, self._stamp = line.number, line.stamp
                yield line.record
            if (failure := await stream.failure()) and self._number == before:
                raise Unreachable(
                    self._pod.name, f"kubectl logs has ended: {told(failure).cause}", told(failure).remedy
                )
            if not quiet:
                yield Quiet()

    async def _now(self) -> Seen | None:
        """The pod; None when it is gone."""
        found = await self._kubectl.table("get", "pods", "--field-selector", f"metadata.name={self._pod.name}")
        pods = [seen(pod) for pod in found.get("items", [])]
        return next((pod for pod in pods if pod.uid == self.instance), None)


async def logs_of(host: Host, keys: KubernetesKeys) -> list[PodLog]:
    """Of the pods that the host was, one after the other, as far as they are still there. Raises a HostError."""
    if host.pod is None or not host.pod.run:
        return []
    kubectl = Kubectl(keys)
    found = await kubectl.table("get", "pods", "-l", of_run(host.pod.run))
    pods = sorted(map(seen, found.get("items", [])), key=lambda pod: (pod.phase in ("runs", "waits"), pod.made))
    return [PodLog(kubectl, pod) for pod in pods if pod.number == host.pod.number and pod.phase != "waits"]
