"""What a pod's container is made of on this machine: its command, variables and volumes, from its specification."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from tests.kubernetes.api.nodes import service_names
from tests.kubernetes.api.nodes.containers import MARK, Image, python_folder
from tests.kubernetes.api.nodes.pod_network import GATEWAY, PodHost
from tests.kubernetes.api.settings import Settings
from tests.kubernetes.api.store import Store
from tests.remote.kubernetes.operator import image as motley_of_the_image

Object = dict[str, Any]
MEMORY = "Memory"
LOOPBACK = "127.0.0.1"
NSSWITCH = Path("/etc/nsswitch.conf")


class Images:
    def __init__(self, store: Store, settings: Settings, folder: Path, mark: str) -> None:
        self._store, self._settings, self._folder, self._mark = store, settings, folder, mark
        self._python: Path | None = None
        self._code: Path | None = None

    def home(self, namespace: str, claim: str) -> Path:
        """Of a claim; it outlives pods."""
        folder = self._folder / "claims" / namespace / claim
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def unbound(self, pod: Object) -> str:
        """Why the scheduler waits for a claim; empty when it does not."""
        namespace = pod["metadata"]["namespace"]
        for name in claims_of(pod):
            claim = self._store.find("persistentvolumeclaims", namespace, name)
            if claim is None:
                said = f'persistentvolumeclaim "{name}" not found'
            elif "deletionTimestamp" in claim["metadata"]:
                said = f'persistentvolumeclaim "{name}" is being deleted'
            elif claim.get("status", {}).get("phase") != "Bound":
                said = "pod has unbound immediate PersistentVolumeClaims"
            else:
                continue
            return f"0/3 nodes are available: {said}. preemption: 0/3 nodes are available."
        return ""

    def missing(self, pod: Object, images: set[str] | None) -> tuple[str, str] | None:
        """Why its container can't be made: a reason and a message."""
        namespace, spec = pod["metadata"]["namespace"], pod["spec"]
        for volume in spec.get("volumes", ()):
            if "configMap" in volume and not self._store.find("configmaps", namespace, volume["configMap"]["name"]):
                name = volume["configMap"]["name"]
                return "ContainerCreating", f'MountVolume.SetUp failed: configmap "{name}" not found'
        image = spec["containers"][0].get("image", "")
        if images is not None and image not in images:
            said = "not found" if "/" not in image else "pull access denied, repository does not exist or may require "
            said += "authorization" if "/" in image else ""
            return "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: failed to pull: {said}'
        for variable in spec["containers"][0].get("env", ()):
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            if source and not self._store.find("secrets", namespace, source["name"]):
                return "CreateContainerConfigError", f'secret "{source["name"]}" not found'
        return None

    def image_of(self, pod: Object, host: PodHost | None) -> Image:
        """Without a host its network is this machine's."""
        container = pod["spec"]["containers"][0]
        if self._python is None or self._code is None:
            self._python = python_folder(self._folder / "bin", self._settings.python)
            self._code = motley_of_the_image(self._folder / "image")
        folder = self._folder / "pods" / pod["metadata"]["uid"]
        folder.mkdir(parents=True)
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        mounts, memory = {}, []
        for mount in container.get("volumeMounts", ()):
            volume = volumes[mount["name"]]
            if volume.get("emptyDir", {}).get("medium") == MEMORY:
                memory.append(mount["mountPath"])
            else:
                mounts[mount["mountPath"]] = self._laid_down(pod, volume, folder)
        words = [*container.get("command", ()), *container.get("args", ())] or ["sleep", "infinity"]
        address = host.address if host else LOOPBACK
        return Image(
            words=words, env=self._variables(pod, container, address), mounts=mounts, memory_mounts=memory,
            folder=folder, hostname=service_names.hostname_of(pod), namespace=host.namespace if host else None,
            etc=_etc(pod, host.address, folder) if host else {"hosts": self._shared_hosts(pod, folder)},
            workdir=container.get("workingDir", "/"),
        )  # fmt: skip

    def _laid_down(self, pod: Object, volume: Object, folder: Path) -> Path:
        namespace = pod["metadata"]["namespace"]
        if "persistentVolumeClaim" in volume:
            return self.home(namespace, volume["persistentVolumeClaim"]["claimName"])
        place: Path = folder / "volumes" / volume["name"]
        place.mkdir(parents=True)
        for kind, plural, key in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
            if kind in volume and (found := self._store.find(plural, namespace, volume[kind][key])):
                packed = {**found.get("binaryData", {}), **(found.get("data", {}) if kind == "secret" else {})}
                for name, content in packed.items():
                    (place / name).write_bytes(base64.b64decode(content))
                for name, text in found.get("data", {}).items() if kind == "configMap" else ():
                    (place / name).write_text(text)
        return place

    def _variables(self, pod: Object, container: Object, address: str) -> dict[str, str]:
        """`PATH` has this Python first, `PYTHONPATH` what the example's image has of Motley."""
        env = {
            "PATH": f"{self._python}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(self._code),
            "HOSTNAME": pod["metadata"]["name"],
            "OMP_NUM_THREADS": "1",
            "HOME": "/root",
            MARK: self._mark,
        }
        env |= {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        for variable in container.get("env", ()):
            env[variable["name"]] = self._value(pod, variable, address)
        return env

    def _value(self, pod: Object, variable: Object, address: str) -> str:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            wanted = source["secretKeyRef"]
            found = self._store.find("secrets", pod["metadata"]["namespace"], wanted["name"]) or {}
            return base64.b64decode(found.get("data", {}).get(wanted["key"], "")).decode()
        if "fieldRef" in source:
            about = pod["metadata"]
            known = {"status.podIP": address, "metadata.name": about["name"], "metadata.uid": about["uid"]}
            path = source["fieldRef"]["fieldPath"]
            if path.startswith("metadata.annotations['"):
                return str(pod["metadata"].get("annotations", {}).get(path[len("metadata.annotations['") : -2], ""))
            return str(known.get(path, ""))
        return str(variable.get("value", ""))

    def _shared_hosts(self, pod: Object, folder: Path) -> Path:
        """All names under which a pod of this cluster may be looked up, those that are not there yet included."""
        names = set()
        for other in self._store.list("pods", pod["metadata"]["namespace"]):
            name, spec = other["metadata"]["name"], other["spec"]
            names |= {name, f"{spec['hostname']}.{spec['subdomain']}" if "subdomain" in spec else name}
        for service in self._store.list("services", pod["metadata"]["namespace"]):
            names.add(service["metadata"]["name"])
        file = folder / "hosts"
        file.write_text("".join(f"{LOOPBACK} {name}\n" for name in ["localhost", *sorted(names)]))
        return file


def _etc(pod: Object, address: str, folder: Path) -> dict[str, Path]:
    """As the kubelet writes them: its own names in a file, all others by the cluster's DNS."""
    own, domains = " ".join(service_names.own_names(pod)), " ".join(service_names.search(pod["metadata"]["namespace"]))
    texts = {
        "hosts": f"{LOOPBACK} localhost\n::1 localhost\n{address} {own}\n",
        "resolv.conf": f"search {domains}\nnameserver {GATEWAY}\noptions ndots:5\n",
    }
    texts |= {NSSWITCH.name: "passwd: files\ngroup: files\nhosts: files dns\n"} if NSSWITCH.exists() else {}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in texts}


def claims_of(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes", ())
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
