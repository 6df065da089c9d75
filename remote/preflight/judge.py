"""What is not in order with a cluster, from what its hosts said and tried: pure, no host is touched.

`remote.preflight.check` calls it with the probes of the hosts that answered and the errors of those that did not. What
each check is for is said in `remote.preflight.check_names`.

    >>> judge(cluster, {"box1": good, "box2": replace(good, torch="")}, {})
    (Finding(host='box2', check='torch', level='error', cause='python3 has no torch', …),)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import Finding, HostError
from motley.remote.hosts.pool import python_of
from motley.remote.preflight.judge_gpus import gpus
from motley.remote.preflight.judge_language_models import language_models
from motley.remote.preflight.judge_limits import upkeep
from motley.remote.preflight.judge_network import network
from motley.remote.preflight.probe import Probe, too_old
from motley.remote.preflight.reachability import Reachability
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import there
from motley.trainer.contract.task_name import IMAGE_FOLDER
from motley.trainer.devices.names import index_of, is_gpu, kind_of

OLDEST_PYTHON = (3, 10)
OLDEST_TORCH = (2, 6)
LAZY, OFF = "TORCH_GLOO_LAZY_INIT", ("", "0", "n", "no", "f", "false")  # as torch reads it
WITH_TORCH = "motley-cluster[train]"  # the extra of pyproject.toml: what a machine needs that trains, not only watches
ELSEWHERE = "Motley trains on Linux: take it out of cluster.toml"
CONTAINER = f"{ELSEWHERE}, or give the address of a Linux container or virtual machine on it that has its own sshd."


def judge(
    cluster: Cluster,
    probes: Mapping[str, Probe],
    errors: Mapping[str, HostError],
    meeting: Reachability | None = None,
    *,
    joins: str = "",
    asleep: Sequence[Finding] = (),
) -> tuple[Finding, ...]:
    """Findings in the order of the hosts, errors before warnings for each.

    `joins`: the run that the leader is at work in and the others are to join. That takes room on the leader, and may
    have processes on a machine that is listed twice: no news. `asleep`: what is found of the machine itself.
    """
    found = [*network(cluster, probes, meeting or Reachability())]
    usual_torch = _most_common([_version(p.torch)[:2] for p in probes.values() if p.torch])
    for host in cluster.hosts:
        if host.name in errors:
            error = errors[host.name]
            name = "python" if error.check == "command" else error.check
            found.append(Finding(host.name, name, "error", error.cause, error.remedy, error.new_key))
        elif host.name in probes and not (joins and host.name == cluster.leader):
            others = tuple(left for left in probes[host.name].leftovers if not joins or left.run != joins)
            found += _one(cluster, host, replace(probes[host.name], leftovers=others), usual_torch)
    found += _twice(cluster, probes)
    found += _script(cluster)
    found += asleep
    order = {host.name: place for place, host in enumerate(cluster.hosts)}
    return tuple(sorted(found, key=lambda finding: (order[finding.host], finding.level)))


def _one(cluster: Cluster, host: Host, probe: Probe, usual_torch: tuple[int, ...]) -> Iterator[Finding]:
    if probe.system != "Linux":
        yield Finding(host.name, "system", "error", f"it runs {probe.system}", CONTAINER)
        return
    if "Microsoft" in probe.kernel and "WSL2" not in probe.kernel:
        remedy = "Make it WSL 2; there, in PowerShell: wsl --list --verbose; wsl --set-version NAME 2"
        yield Finding(host.name, "system", "error", "it is WSL 1, which has no Linux kernel of its own", remedy)
        return
    if _version(probe.python) < OLDEST_PYTHON:
        yield Finding(host.name, "python", "error", *too_old(python_of(host), probe.python))
        return
    yield from _torch(host, probe, usual_torch)
    if cluster.dataset == IMAGE_FOLDER and not probe.pillow:
        yield _no_pillow(host, probe)
    yield from language_models(cluster, host, probe)
    yield from gpus(host, probe)
    yield from upkeep(cluster, host, probe)
    wanted = host.env.get("GLOO_SOCKET_IFNAME", "")
    if wanted and probe.interfaces and wanted not in probe.interfaces:
        has = ", ".join(name for name in probe.interfaces if name != "lo")
        cause = f"env sets GLOO_SOCKET_IFNAME to {wanted}, and it has no such interface, but {has}"
        remedy = f"Take it out of env in cluster.toml, or name the one towards the leader: {probe.interface or has}"
        yield Finding(host.name, "interface", "error", cause, remedy)
    if LAZY in host.pass_env or host.env.get(LAZY, "0").lower() not in OFF:
        cause = f"env sets {LAZY}: with it gloo can hang when another host is lost, and the run with it"
        remedy = f"Take {LAZY} out of env and pass_env in cluster.toml. See https://github.com/pytorch/gloo/issues/520"
        yield Finding(host.name, "gloo", "warning", cause, remedy)


def _torch(host: Host, probe: Probe, usual: tuple[int, ...]) -> Iterator[Finding]:
    version = _version(probe.torch)[:2]
    as_installed = host.way.own_python and host.runtime is None and not host.python and not host.requirements
    if as_installed and version < OLDEST_TORCH:  # a plain `pip install` of Motley brings none
        has = f"torch {probe.torch}, older than 2.6" if probe.torch else "no torch"
        cause = f"the console's own Python ({python_of(host)}), which {host.way.called} trains with, has {has}"
        remedy = f"Install it: {pasteable([python_of(host), '-m', 'pip', 'install', WITH_TORCH])}"
        yield Finding(host.name, "torch", "error", cause, remedy)
        return
    wanted = ".".join(map(str, usual)) if usual >= OLDEST_TORCH else ".".join(map(str, OLDEST_TORCH))
    who, other = f"{python_of(host)} (Python {probe.python})", "the Python that has it as python"
    install = there(host, f'{pasteable([python_of(host)])} -m pip install "torch=={wanted}.*"')
    if host.runtime is not None:
        who, other = "python3 in its image", "an image that has it"
        install = f"build one with torch=={wanted}.*: docs/environment.md shows how"
    if host.requirements and (host.runtime is None or host.dockerfile):
        install = f"add torch=={wanted}.* to {host.requirements}"
    if not probe.torch:
        remedy = f"Name {other} in cluster.toml, or install it: {install}"
        yield Finding(host.name, "torch", "error", f"{who} has no torch", remedy)
    elif version < OLDEST_TORCH:
        yield Finding(host.name, "torch", "error", f"torch {probe.torch} is older than 2.6", f"Install it: {install}")
    elif version != usual:
        cause = f"torch {probe.torch}, where most hosts have {wanted}"
        yield Finding(host.name, "torch", "warning", cause, f"It mostly works; to be sure: {install}")


def _no_pillow(host: Host, probe: Probe) -> Finding:
    python = python_of(host)
    who = f"{python} (Python {probe.python})"
    install = there(host, pasteable([python, "-m", "pip", "install", "Pillow"]))
    remedy = f"Name it in the file of [environment] requirements, or install it: {install}"
    if host.runtime is not None:
        who, remedy = "python3 in its image", "Take an image that has it: docs/environment.md shows how to build one"
    if host.requirements and (host.runtime is None or host.dockerfile):
        remedy = f"Add Pillow to {host.requirements}"
    cause = f"{who} has no Pillow, which decodes the pictures of {IMAGE_FOLDER}"
    return Finding(host.name, "pillow", "error", cause, remedy)


def _twice(cluster: Cluster, probes: Mapping[str, Probe]) -> Iterator[Finding]:
    """One machine under two addresses: its ranks would fight over the same cores and GPUs."""
    first: dict[tuple[str, str, str], str] = {}
    for host in cluster.hosts:
        if host.name in probes and not host.way.emulated:
            probe = probes[host.name]
            other = first.setdefault((probe.boot_id, probe.hostname, probe.home), host.name)
            if other != host.name:
                cause = f"it is the same machine as {other} ({probe.hostname}): they share its cores and GPUs"
                remedy = "Keep one of the two in cluster.toml, and list the machine's devices there; or for now: "
                remedy += f"motley run {' '.join(f'--only {name}' for name in _others(cluster, host.name))}"
                yield Finding(host.name, "machine", "warning", cause, remedy)


def _others(cluster: Cluster, name: str) -> list[str]:
    return [host.name for host in cluster.hosts if host.name != name]


def _script(cluster: Cluster) -> Iterator[Finding]:
    """What cluster.toml says in vain, since the user's own script does not hear of it."""
    if cluster.run.program is None:
        return
    if cluster.unheeded:
        have = "have" if len(cluster.unheeded) > 1 else "has"
        without = "" if cluster.session else " that does not call motley.session()"
        cause = f"{', '.join(cluster.unheeded)} {have} no effect on a script{without}"
        remedy = f"Take that out of cluster.toml; what {cluster.run.program} shall know goes into run.args."
        yield Finding(cluster.leader, "script", "warning", cause, remedy)
    for host in () if cluster.session else cluster.hosts:  # a session slows itself, and goes by MOTLEY_DEVICE
        if host.speed is not None and host.speed < 1:
            cause = f"speed = {host.speed:g} stops the script for part of the time, also while it sends gradients"
            remedy = "A task is slowed only while it computes; take speed out to see the script at its own pace."
            yield Finding(host.name, "script", "warning", cause, remedy)
        asked = host.devices if host.devices != "auto" else ()
        if any(index_of(device) != n for n, device in enumerate(asked) if is_gpu(device)):
            first = next(f"{kind_of(device)}:0" for device in asked if is_gpu(device))
            cause = f"devices = {list(asked)}, where a script that goes by LOCAL_RANK takes {first} and so on"
            remedy = f"Have it take the device that MOTLEY_DEVICE names, or name the devices from {first} on."
            yield Finding(host.name, "devices", "warning", cause, remedy)


def _version(text: str) -> tuple[int, ...]:
    """The numbers at its start: "2.13.0+cpu" is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _most_common(versions: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The newer one when two are equally common; () of none."""
    counts = Counter(versions)
    return max(counts, key=lambda version: (counts[version], version), default=())
