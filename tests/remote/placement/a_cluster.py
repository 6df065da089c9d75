"""A cluster that a test makes up, as kubectl would tell of it: its objects, and what goes wrong on the way to it.

there = ACluster()
there.looks = [Unreachable(…), [job("night"), pod("night", 0)]]     # answers about the run, one after the other
monkeypatch.setattr(kubernetes_job, "Kubectl", there.kubectl)
"""

from __future__ import annotations

import json
from typing import Any

from motley.remote.config.sections import KubernetesKeys
from motley.remote.errors import HostError
from motley.remote.hosts.kubectl import Kubectl
from motley.remote.placement.kubernetes_hosts import annotation
from motley.remote.ssh.commands import Result

Table = dict[str, Any]
JOBSETS = "jobsets.jobset.x-k8s.io"
CLAIM = "cards-workspace"


def pod(run: str, number: int, state: str = "running", **why: str) -> Table:
    """`why`: the reason and message of one that is "waiting"."""
    env = [{"name": "MOTLEY_POD_FIRST", "value": str(number)}]
    claim = {"name": "workspace", "persistentVolumeClaim": {"claimName": CLAIM}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{run}-{number}",
            "uid": f"{run}-{number}",
            "labels": {"motley-run": run} if run else {},
            "annotations": {"batch.kubernetes.io/job-completion-index": "0"},
        },
        "spec": {"containers": [{"name": "node", "env": env}], "volumes": [claim]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "node", "state": {state: why}}]},
    }


def job(run: str, *hosts: str) -> Table:
    """`hosts`: that are noted on it."""
    template = {"spec": {"volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": CLAIM}}]}}
    about = {"name": run, "labels": {"motley-run": run}, "annotations": annotation(hosts) if hosts else {}}
    return {"kind": "JobSet", "metadata": about, "spec": {"replicatedJobs": [{"template": {"spec": template}}]}}


class ACluster:
    """`looks`: what is answered about the run, the last one again and again; until it is deleted. `others`: objects of
    other runs, or the error with which they can't be listed. `deleted`: what kubectl was told to delete."""

    def __init__(self) -> None:
        self.looks: list[HostError | list[Table]] = [[]]
        self.others: HostError | list[Table] = []
        self.deleted: list[str] = []

    def kubectl(self, keys: KubernetesKeys) -> Kubectl:
        return _Kubectl(keys, self)

    def answer(self, words: tuple[str, ...]) -> str:
        match words:
            case ("version", *_):
                return '{"clientVersion": {"gitVersion": "v1.37.1"}}'
            case ("get", "--raw", _):
                return '{"resources": [{"name": "jobsets"}]}'
            case ("get", "events", *_):
                return '{"items": []}'
            case ("get", what, "-l", _, "-o", "json") if what == f"{JOBSETS},pods":
                return self._items([] if self.deleted else self.looks[0] if len(self.looks) == 1 else self.looks.pop(0))
            case ("get", what, "-o", "json") if what == f"pods,{JOBSETS}":
                return self._items(self.others)
            case ("apply", *_) if "--dry-run=server" not in words:
                return f"persistentvolumeclaim/{CLAIM}\n"
            case ("delete", *names):
                self.deleted += [name for name in names if not name.startswith("-")]
        return ""

    def _items(self, found: HostError | list[Table]) -> str:
        if isinstance(found, HostError):
            raise found
        return json.dumps({"items": found})


class _Kubectl(Kubectl):
    def __init__(self, keys: KubernetesKeys, cluster: ACluster) -> None:
        super().__init__(keys)
        self._cluster = cluster

    async def run(self, *words: str, stdin: bytes = b"", timeout_s: float = 0.0) -> Result:  # noqa: ARG002
        return Result(code=0, stdout=self._cluster.answer(words).encode(), stderr="")
