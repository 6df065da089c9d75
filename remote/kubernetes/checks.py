"""What of a cluster.toml can't go to Kubernetes, by key, before anything is written.

>>> check(cluster, "night", "pytorchjob")
Traceback (most recent call last):
ConfigError: cluster.toml:9: hosts.Box_2.name: "Box_2" is no name for Kubernetes, …; "box-2" is one
"""

from __future__ import annotations

import sys
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.problems import Problems
from motley.remote.config.schema import shown
from motley.remote.config.toml_lines import KeyPath, key_lines
from motley.remote.errors import ConfigError, UsageError
from motley.remote.kubernetes.documents import Kind
from motley.remote.kubernetes.pod_template import image_of, template
from motley.remote.kubernetes.pods import Group, as_pods, classes, devices_of, gpus_of, groups, members_of
from motley.remote.kubernetes.volumes import TEXTS, volumes
from motley.remote.launch.placement import misfits
from motley.remote.sanitize import clean
from motley.trainer.devices.names import CPU, cards_of, is_gpu, numbered

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = {"pytorchjob": "-worker-{last}", "jobset": "-{group}-0-{last}-xxxxx", "trainjob": "-{group}-0-{last}-xxxxx"}


def check(cluster: Cluster, run: str, kind: Kind) -> None:
    """Raises ConfigError with all that is wrong in the file, UsageError for the name of the run and for shares or caps
    that do not fit its ranks."""
    if problem := value_rules.label_problem(run):
        raise UsageError(clean(f"the name of the run, '{run}', {problem}: --name gives it another"))
    table = tomllib.loads(cluster.text)
    problems = Problems(key_lines(cluster.text), cluster.path.name)
    places = {host["name"]: index for index, host in enumerate(table["hosts"]) if "name" in host}
    for host, _ in classes(cluster):
        _check_host(host, ("hosts", places[host.name]), problems)
    _check_names(cluster, places, problems)
    _check_volumes(cluster, problems)
    if kind == "pytorchjob":
        _check_workers(cluster, places, problems)
    if problems:
        raise ConfigError(str(cluster.path), problems.lines(table))
    _check_lengths(cluster, run, kind)
    wrong = [finding for finding in misfits(as_pods(cluster), members_of(cluster)) if finding.level == "error"]
    if wrong:
        raise UsageError(f"{wrong[0].cause}. {wrong[0].remedy}")


def _check_host(host: Host, path: KeyPath, problems: Problems) -> None:
    if problem := value_rules.label_problem(host.name):
        problems.add((*path, "name"), f"{shown(host.name)} {problem}")
    named = [card for device in devices_of(host) if device != CPU for card in cards_of(device)]
    if host.gpus is not None and host.devices != "auto" and len(named) > host.gpus:
        problems.add((*path, "gpus"), f"is {host.gpus}, and devices names {len(named)}; leave gpus out")
    here = [numbered(number) for number in range(gpus_of(host))]
    if odd := next((device for device in named if device not in here and is_gpu(device)), None):
        text = f"has {odd}; in a pod the GPUs that it gets are counted from 0: {', '.join(here) or 'it asks for none'}"
        problems.add((*path, "devices"), text)


def _check_names(cluster: Cluster, places: dict[str, int], problems: Problems) -> None:
    """`gpu` twice is `gpu-0` and `gpu-1`, which no other host may be called."""
    known: dict[str, str] = {}
    for group in groups(cluster):
        for name in {group.name, *group.hosts}:
            other = known.setdefault(name, group.of.name)
            if other != group.of.name:
                text = f'"{name}" is a machine of {other if other != name else group.of.name} already, as it has '
                problems.add(("hosts", places[name], "name"), f"{text}several nodes; give it another name")


def _check_volumes(cluster: Cluster, problems: Problems) -> None:
    keys = cluster.kubernetes
    for name in TEXTS:
        if getattr(keys, name) and getattr(keys, f"{name}_claim"):
            problems.add(("kubernetes", name), f"{name}_claim is given too; keep one of them")
    pods = sum(host.nodes for host in cluster.hosts)
    if keys.access == "ReadWriteOnce" and pods > 1 and (keys.models or keys.models_claim):
        text = f"lets one node mount the models, and the run has {pods} pods; take ReadWriteMany, or leave models out"
        problems.add(("kubernetes", "access"), text)


def _check_workers(cluster: Cluster, places: dict[str, int], problems: Problems) -> None:
    """A PyTorchJob has Workers of one kind."""
    _, *others = groups(cluster)
    for group in others[1:]:
        if _pods(cluster, group) != _pods(cluster, others[0]):
            text = (
                f"has other pods than {others[0].of.name}, and a PyTorchJob has Workers of one kind beside its Master: "
            )
            problems.add(("hosts", places[group.of.name]), f"{text}--kind jobset or --kind trainjob takes any classes")


def _pods(cluster: Cluster, group: Group) -> dict[str, Any]:
    """What its pods are made of, but for who they are."""
    return template(cluster, "", group, container="", secrets=tuple(group.of.pass_env), env=[])


def _check_lengths(cluster: Cluster, run: str, kind: Kind) -> None:
    for group in groups(cluster):
        longest = run + SUFFIX[kind].format(group=group.name, last=len(group.hosts))
        if (over := len(longest) - value_rules.LABEL_CHARS) > 0:
            text = f"the run's name '{run}' is {over} characters too long: its pods would be called {longest}"
            raise UsageError(clean(f"{text}. --name gives it a shorter one"))


def notes(cluster: Cluster) -> list[str]:
    """What is right, and still may surprise: for stderr."""
    found = []
    if cluster.kubernetes.image is None:
        found.append(
            f"no [kubernetes] image: the pods want {image_of(cluster)}, which examples/kubernetes/Dockerfile makes"
        )
    for host, _ in classes(cluster):
        if host.devices == "auto" and not host.gpus:
            found.append(f"{host.name}: its pods train on the CPU; gpus = 1 asks for a GPU")
        if host.runtime or host.requirements:
            found.append(f"{host.name}: [environment] is of no effect in pods: what the task needs is in their image")
    if not any(volume.name == "workspace" for volume in volumes(cluster)):
        found.append('no [kubernetes] workspace: checkpoints go with the pod that leads; workspace = "20Gi" keeps them')
    return list(dict.fromkeys(found))
