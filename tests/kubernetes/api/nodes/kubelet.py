"""The nodes of a cluster: volumes are bound, pods find a node, and their containers run as processes of this machine.

`sync` looks at all that there is and does what is to be done next; it is called after each change.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.kubernetes.api import events
from tests.kubernetes.api.nodes import containers, pod_images, pod_states, scheduler, service_names
from tests.kubernetes.api.nodes.containers import Container
from tests.kubernetes.api.nodes.pod_log import PodLog
from tests.kubernetes.api.nodes.pod_network import PodHost, PodNetwork
from tests.kubernetes.api.settings import Settings
from tests.kubernetes.api.store import Store
from tests.lab.network import NetworkError

Object = dict[str, Any]
ENDED = ("Succeeded", "Failed")
LOOK_S = 0.05


class Kubelet:
    def __init__(self, store: Store, settings: Settings, folder: Path, mark: str, *, own_networks: bool) -> None:
        self._store, self._settings = store, settings
        self._network = PodNetwork(self._addresses) if own_networks else None
        self._images = pod_images.Images(store, settings, folder, mark)
        self._containers: dict[str, Container] = {}  # by the uid of the pod
        self._hosts: dict[str, PodHost] = {}
        self._logs: dict[str, PodLog] = {}
        self._begun: set[str] = set()
        self._ending: set[str] = set()
        self._closing = False
        self._why: dict[str, tuple[str, str]] = {}  # why a pod that is being ended is: reason and message
        self._tasks: set[asyncio.Task[None]] = set()

    def sync(self) -> None:
        for claim in self._store.list("persistentvolumeclaims"):
            self._bind(claim)
        for pod in self._store.list("pods"):
            uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase", "Pending")
            if "deletionTimestamp" in pod["metadata"]:
                self._delete(pod)
            elif phase == "Pending" and uid not in self._begun:
                self._advance(pod)

    def container_of(self, pod: Object) -> Container | None:
        """None while none runs."""
        container = self._containers.get(pod["metadata"]["uid"])
        return None if container is None or container.ended.done() else container

    def host_of(self, pod: Object) -> PodHost:
        """Raises AssertionError when it has none: it does not run, or pods have no networks of their own."""
        host = self._hosts.get(pod["metadata"]["uid"])
        assert host is not None, f"{pod['metadata']['name']} has no network of its own"
        return host

    def log_of(self, pod: Object) -> PodLog | None:
        return self._logs.get(pod["metadata"]["uid"])

    def home(self, namespace: str, claim: str) -> Path:
        return self._images.home(namespace, claim)

    def evict(self, pod: Object) -> None:
        """Asked to end, and after its grace ended; it is left as Failed, with the reason."""
        self._why[pod["metadata"]["uid"]] = ("Evicted", pod_states.EVICTED)
        grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._spawn(self._end(pod, grace))

    def lose(self, pod: Object) -> None:
        """Its node is gone: whom it spoke to hears nothing of it."""
        self._why[pod["metadata"]["uid"]] = ("NodeLost", pod_states.NODE_LOST)
        if (host := self._hosts.get(pod["metadata"]["uid"])) is not None:
            host.unplug()
        if (container := self.container_of(pod)) is not None:
            container.kill()

    async def close(self) -> None:
        """No process is left of any pod then."""
        self._closing = True
        while self._tasks:
            for container in self._containers.values():
                if not container.ended.done():
                    container.kill()
            await asyncio.wait(self._tasks, timeout=LOOK_S)  # one that is just being started is among them
        if self._network is not None:
            self._network.close()

    def _addresses(self, name: str) -> list[str]:
        return service_names.addresses(name, self._store.list("services"), self._store.list("pods"))

    def _bind(self, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        namespace, name = metadata["namespace"], metadata["name"]
        if "deletionTimestamp" in metadata:
            if not any(name in pod_images.claims_of(pod) for pod in self._store.list("pods", namespace)):
                self._store.remove("persistentvolumeclaims", namespace, name)
        elif claim.get("status", {}).get("phase") != "Bound":
            wanted = spec.get("storageClassName")
            if wanted not in self._settings.storage_classes:
                said = f'storageclass.storage.k8s.io "{wanted}" not found'
                events.tell(self._store, claim, "ProvisioningFailed", said, source="persistentvolume-controller")
                return
            storage = spec["resources"]["requests"]["storage"]

            def bound(table: Object) -> None:
                table["spec"]["volumeName"] = f"pvc-{metadata['uid']}"
                capacity = {"storage": storage}
                table["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": capacity}

            self._store.update("persistentvolumeclaims", namespace, name, bound)

    def _advance(self, pod: Object) -> None:
        """As far as a pod can go that waits."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        held = self._settings.reason_to_hold(name)
        if "nodeName" not in pod["spec"]:
            why = held[1] if held and held[0] == "Unschedulable" else self._images.unbound(pod)
            node = ""
            if not why:
                placed = [o for o in self._store.list("pods") if o.get("status", {}).get("phase") not in ENDED]
                node, why = scheduler.place(pod, self._settings.nodes, placed)
            if why:
                self._change(pod, pod_states.unschedulable(why))
                events.tell(self._store, pod, "FailedScheduling", why, source="default-scheduler")
                return
            self._change(pod, pod_states.scheduled(node))
            said = f"Successfully assigned {pod['metadata']['namespace']}/{name} to {node}"
            events.tell(self._store, pod, "Scheduled", said, kind="Normal", source="default-scheduler")
        if held and held[0] != "Unschedulable":
            self._wait(pod, *held)
        elif missing := self._images.missing(pod, self._settings.images):
            self._wait(pod, *missing)
        else:
            self._begun.add(uid)
            self._spawn(self._run(pod))

    def _wait(self, pod: Object, reason: str, message: str) -> None:
        self._change(pod, pod_states.waiting(reason, message))
        if reason != "ContainerCreating":
            telling = {"CreateContainerConfigError": "Failed", "ImagePullBackOff": "Failed", "ErrImagePull": "Failed"}
            events.tell(self._store, pod, telling.get(reason, reason), message)

    async def _run(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        try:
            if self._network is not None:
                self._hosts[uid] = await self._network.plug_in()
            await self._run_container(pod, self._hosts.get(uid))
        except (OSError, NetworkError) as error:
            self._change(pod, pod_states.ended(128, ("StartError", str(error))))
        finally:
            if (host := self._hosts.pop(uid, None)) is not None:
                host.close()

    async def _run_container(self, pod: Object, host: PodHost | None) -> None:
        """To its end. Raises OSError when it can't begin."""
        uid = pod["metadata"]["uid"]
        container = await containers.start(self._images.image_of(pod, host))
        log = self._logs[uid] = PodLog()
        keeping = asyncio.ensure_future(log.keep(container.output))
        self._containers[uid] = container
        if self._closing:
            container.kill()
        self._change(pod, pod_states.running(host.address if host else pod_images.LOOPBACK))
        if "deletionTimestamp" in (self._now(pod) or {"metadata": {"deletionTimestamp": ""}})["metadata"]:
            self._store.wake()  # it was deleted meanwhile
        code = await container.ended
        await keeping
        await container.close()
        self._change(pod, pod_states.ended(code, self._why.get(uid)))
        self._store.wake()

    def _delete(self, pod: Object) -> None:
        uid, metadata = pod["metadata"]["uid"], pod["metadata"]
        container, grace = self.container_of(pod), float(metadata.get("deletionGracePeriodSeconds", 30))
        if container is None and (uid not in self._begun or uid in self._logs):
            self._store.remove("pods", metadata["namespace"], metadata["name"])
        elif container is not None and grace == 0:
            container.kill()
        elif container is not None and uid not in self._ending:
            self._ending.add(uid)
            self._spawn(self._end(pod, grace))

    async def _end(self, pod: Object, grace_s: float) -> None:
        container = self.container_of(pod)
        if container is None:
            return
        container.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({container.ended}, timeout=grace_s)
        if not done:
            container.kill()

    def _change(self, pod: Object, change: pod_states.Change) -> None:
        metadata = pod["metadata"]
        found = self._now(pod)
        if found is not None and found["metadata"]["uid"] == metadata["uid"]:
            self._store.update("pods", metadata["namespace"], metadata["name"], change)

    def _now(self, pod: Object) -> Object | None:
        return self._store.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
