"""An operator on this machine: it starts the pods of a manifest as processes, with what the templates say of them.

Only what a machine without Kubernetes can't have is put in its place: names of pods become `localhost`, the mounted
folders lie in the test's own.
"""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

from motley.remote.kubernetes.document_rules import templates
from tests.trainer.pod.pods import ROOT, Pods

Table = dict[str, Any]


def image(folder: Path) -> Path:
    """What the example's Dockerfile copies into an image, and no more of the repository."""
    text = (ROOT / "examples/kubernetes/Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (\S+) /opt/motley/(\S+)$", text, re.MULTILINE)
    assert copied
    for source, target in copied:
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-rLp", str(ROOT / source), str(folder / target)], check=True)
    return folder


class Operator(Pods):
    """`documents` as they are read from the file; `numbers` of the pods are those that the kind gives."""

    def __init__(self, folder: Path, documents: list[Table]) -> None:
        super().__init__(folder)
        self._by_kind = {table["kind"]: table for table in documents}
        config = self._by_kind["ConfigMap"]
        for name, content in config["data"].items():
            (folder / name).write_text(content)
        for name, content in config.get("binaryData", {}).items():
            (folder / name).write_bytes(base64.b64decode(content))
        self._code = image(folder / "image")

    def start_pod(self, name: str, group: int, index: int, **environment: str) -> None:
        """Of the pod with this index in the group; `environment` is what the operator adds."""
        job = next(table for table in self._by_kind.values() if templates(table))
        (container,) = templates(job)[group]["spec"]["containers"]
        *start, file = container["command"]
        assert start == ["python3", "-m", "motley.trainer", "pod", "--description"]
        assert file == f"/motley/{self.file.name}"
        given = {one["name"]: self._value(one, name) for one in container["env"]}
        if "MOTLEY_LEADER" in given:
            assert given["MOTLEY_LEADER"].endswith(f".{job['metadata']['name']}")
            given |= {"MOTLEY_LEADER": "localhost", "JOB_COMPLETION_INDEX": str(index)}
        self.start(name, **{**given, "PYTHONPATH": str(self._code), **environment})

    def _value(self, variable: Table, pod: str) -> str:
        if "value" in variable:
            return str(variable["value"]).replace("/workspace", str(self.folder / pod))
        if "secretKeyRef" in (source := variable["valueFrom"]):
            return str(self._by_kind["Secret"]["stringData"][source["secretKeyRef"]["key"]])
        path = source["fieldRef"]["fieldPath"]
        return {"status.podIP": "127.0.0.1", "metadata.uid": f"uid-of-{pod}"}[path]
