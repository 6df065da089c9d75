"""cluster.toml -> one file of several documents: everything that a run needs in Kubernetes, but for what cluster.toml
says is there already.

    >>> made = manifests(cluster, "night", "jobset", token=secrets.token_hex(32), environ=os.environ)
    >>> print(made.text)
    # The run 'night' as manifests of Kubernetes …
"""

from __future__ import annotations

import base64
import dataclasses
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley import __version__
from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems
from motley.remote.config.toml_lines import KeyPath, key_lines
from motley.remote.errors import ConfigError
from motley.remote.kubernetes import checks
from motley.remote.kubernetes.document_rules import check_documents
from motley.remote.kubernetes.documents import Kind, job, metadata_of, names_of_pods
from motley.remote.kubernetes.pod_template import LABEL, RUN_FILE, image_of
from motley.remote.kubernetes.pods import as_pods, members_of
from motley.remote.kubernetes.volumes import TEXTS, claim, volumes
from motley.remote.kubernetes.yaml_text import text, wrapped
from motley.remote.launch.placement import spec_for
from motley.remote.placement.kubernetes_hosts import annotation
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.project import project_of
from motley.remote.provision.push_code import File, Tree
from motley.trainer.contract.spec import RunOptions
from motley.trainer.pod.description import Description

MOST_BYTES = 700 * 1024  # of the code that travels in a ConfigMap, and of the data, packed
TOGETHER_BYTES = 1000 * 1024  # of both; Kubernetes ends at 1 MiB of a ConfigMap, in which the run is described, too
JOIN_S = 1800.0  # in place of the usual `join_timeout_s`: nodes fetch images, and pods wait for room
TOKEN = "MOTLEY_TOKEN"
FOLLOWED = 5  # pods at most whose logs kubectl follows without being told
HEAD = {
    "pytorchjob": "It is a PyTorchJob of Kubeflow's training-operator v1.",
    "jobset": "It is a JobSet (jobset.sigs.k8s.io).",
    "trainjob": "It is a TrainJob of Kubeflow Trainer v2, with a runtime of its own for its classes of machines.",
}
KINDS = {"pytorchjob": "pytorchjob", "jobset": "jobset", "trainjob": "trainjob,trainingruntime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    text: str
    documents: tuple[dict[str, Any], ...]  # with comments, as `yaml_text` has them
    notes: tuple[str, ...]  # for people, on stderr


def manifests(
    cluster: Cluster,
    run: str,
    kind: Kind,
    *,
    token: str,
    environ: Mapping[str, str],
    stays_s: float = 0.0,
    resume: tuple[str, str] = ("", ""),
) -> Manifests:
    """`environ` has the variables that `pass_env` names. `stays_s`: how long pods stay when the run has ended.
    `resume`: the folder of a run on the volume to go on from, with the name of a checkpoint where one is asked for, and
    that run's name.

    Raises ConfigError and UsageError as `checks.check` does, and for a project or data that is too large to travel in a
    manifest.
    """
    checks.check(cluster, run, kind)
    passed = {name: environ[name] for host in cluster.hosts for name in host.pass_env if name in environ}
    description, packed = _described(cluster, run)
    pods = names_of_pods(cluster, run, kind) if stays_s else ()
    spec = dataclasses.replace(description.spec, resume=resume[0] or None, resume_of=resume[1])
    description = dataclasses.replace(description, spec=spec, stays_s=stays_s, pods=pods)
    metadata = metadata_of(cluster, run, {LABEL: run})
    documents = [
        *(_claim(cluster, volume) for volume in volumes(cluster) if volume.size),
        _secret(metadata, {TOKEN: token, **passed}),
        _run(metadata, description, packed),
        *job(cluster, run, kind, {**metadata, **_noted(description.hosts)}, (TOKEN, *passed)),
    ]
    check_documents(documents)
    parts = [_head(cluster, run, kind), *map(text, documents)]
    return Manifests(text="---\n".join(parts), documents=tuple(documents), notes=tuple(checks.notes(cluster)))


def _head(cluster: Cluster, run: str, kind: Kind) -> str:
    where = f" --namespace {cluster.kubernetes.namespace}" if cluster.kubernetes.namespace else ""
    pods = sum(host.nodes for host in cluster.hosts)
    several = f" --max-log-requests={pods}" if pods > FOLLOWED else ""
    its = f"{LABEL}={shlex.quote(run)}"
    said = f"""\
The run '{run}' as manifests of Kubernetes, made from {cluster.path.name} by Motley {__version__}.
{HEAD[kind]} Its pods need the image {image_of(cluster)}.
  kubectl apply --server-side -f FILE      starts it
  kubectl get pods{where} -l {its}      its pods
  kubectl logs{where} -f --tail=-1{several} -l {its}      what they tell, in JSON
  kubectl delete{where} {KINDS[kind]},configmap,secret -l {its}      ends it; volumes stay
The Secret below lets a pod into the run: keep this file to yourself. For another run, export anew."""
    return "".join(f"# {line}\n" for line in wrapped(said))


def _noted(hosts: tuple[str, ...]) -> dict[str, Any]:
    return {
        "#annotations": "The hosts, by the numbers of their pods: a console goes by it.",
        "annotations": annotation(hosts),
    }


def _claim(cluster: Cluster, volume: Any) -> dict[str, Any]:
    table = claim(volume, cluster.kubernetes, metadata_of(cluster, volume.claim))
    return {"#apiVersion": TEXTS[volume.name], **table}


def _secret(metadata: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    return {
        "#apiVersion": "What nobody else may know: the run's own token, and variables that pass_env names.",
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "stringData": values,
    }


def _run(metadata: dict[str, Any], description: Description, packed: dict[str, bytes]) -> dict[str, Any]:
    files = {f"{name}.tar.gz": base64.b64encode(content).decode() for name, content in packed.items()}
    return {
        "#apiVersion": "What every pod is told of the run: all options, and which ranks there are on which pod.",
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {RUN_FILE: description.to_json() + "\n"},
        **({"#binaryData": "Your own files, packed.", "binaryData": files} if files else {}),
    }


def _described(cluster: Cluster, run: str) -> tuple[Description, dict[str, bytes]]:
    """What all pods are told, and the files that go along, packed, by their hashes."""
    pods = as_pods(cluster)
    tree, code = project_of(cluster)
    spec = spec_for(
        pods, run, pods.hosts[0], members_of(cluster), token="", leader_address="", before_s=0.0, phases={},
        resume=None, user_code=code,
    )  # fmt: skip
    patient = spec.options.join_timeout_s == RunOptions().join_timeout_s
    options = dataclasses.replace(spec.options, join_timeout_s=JOIN_S) if patient else spec.options
    spec = dataclasses.replace(
        spec, host="", options=options, env={}, emulated=False, machines={}, words=(), speed=None
    )  # fmt: skip
    packed = {tree.hash: _packed(cluster, _key(cluster), tree)} if tree is not None else {}
    data = _data(cluster)
    if data is not None:
        packed[data.hash] = _packed(cluster, ("data", "push"), data)
    if sum(map(len, packed.values())) > TOGETHER_BYTES:
        what = " and ".join(one.what for one in (tree, data) if one is not None)
        raise _wrong(cluster, ("data", "push"), _too_large(what, sum(map(len, packed.values())), TOGETHER_BYTES))
    hosts = tuple(host.name for host in pods.hosts)
    return Description(spec=spec, hosts=hosts, trees=tuple(packed), data_tree=data.hash if data else ""), packed


def _data(cluster: Cluster) -> Tree | None:
    """Of `[data] push`. Raises ConfigError when it can't be read, or is too large already before it is packed."""
    if cluster.data.push is None:
        return None
    root = cluster.path.absolute().parent / Path(os.path.expanduser(cluster.data.push))
    try:
        folder = Folder.of(root)
        if folder.bytes > 20 * MOST_BYTES:
            raise _wrong(cluster, ("data", "push"), _too_large(f"{root}", folder.bytes))
        files = [File(path=one.path, executable=False, content=(root / one.path).read_bytes()) for one in folder.files]
    except (OSError, ValueError) as error:
        raise _wrong(cluster, ("data", "push"), f"{root} can't be read: {error}") from error
    return Tree.from_files(files, what="the data")


def _packed(cluster: Cluster, path: KeyPath, tree: Tree) -> bytes:
    content = tree.pack()
    if len(content) > MOST_BYTES:
        raise _wrong(cluster, path, _too_large(tree.what, len(content)))
    return content


def _too_large(what: str, size: int, most: int = MOST_BYTES) -> str:
    whole = "take" if most == TOGETHER_BYTES else "is"
    text = f"{what} {whole} {size / 1024:,.0f} KiB, and a manifest carries {most // 1024:,} KiB of files, packed; "
    text += "put large files into the image or on a volume, and name the place there ([data] path)"
    return f"{text}; .motleyignore names what pods do not need"


def _key(cluster: Cluster) -> KeyPath:
    if cluster.run.program is not None:
        return ("run", "project")
    return ("run", "task") if cluster.own_task is not None else ("balance", "policy")


def _wrong(cluster: Cluster, path: KeyPath, said: str) -> ConfigError:
    problems = Problems(key_lines(cluster.text), cluster.path.name)
    problems.add(path, said)
    return ConfigError(str(cluster.path), problems.lines({}))
