"""What is not in order with a cluster, from what its hosts said: pure, no host is touched.

`remote.check` calls it with the probes of the hosts that answered and the errors of those that did not.

    >>> judge(cluster, {"box1": good, "box2": replace(good, torch="")}, {})
    (Finding(host='box2', check='torch', level='error', cause='python3 has no torch', …),)
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from remote.cluster import Cluster, Host
from remote.errors import CommandFailed, Finding, HostError
from remote.hosts import python_of
from remote.probe import Probe, too_old
from remote.shell import pasteable, ssh_words

OLDEST_PYTHON = (3, 10)
OLDEST_TORCH = (2, 6)
LEAST_DISK_MIB = 200  # the trainer, a few checkpoints of a small model, logs
LITTLE_DISK_MIB = 1024
PYTORCH_HELP = "https://pytorch.org/get-started/locally"


def judge(cluster: Cluster, probes: Mapping[str, Probe], errors: Mapping[str, HostError]) -> tuple[Finding, ...]:
    """Findings in the order of the hosts, errors before warnings for each."""
    findings: list[Finding] = []
    usual_torch = _most_common([_version(p.torch)[:2] for p in probes.values() if p.torch])
    for host in cluster.hosts:
        if host.name in errors:
            error = errors[host.name]
            name = "python" if isinstance(error, CommandFailed) else error.check
            findings.append(Finding(host.name, name, "error", error.cause, error.remedy))
        elif host.name in probes:
            found = [*_one(host, probes[host.name], usual_torch)]
            findings += sorted(found, key=lambda finding: finding.level)
    findings += _leader(cluster, probes)
    findings += _script(cluster)
    return tuple(findings)


def leader_address(cluster: Cluster, probes: Mapping[str, Probe]) -> str:
    """The address of the leader that our connection reached; empty when it did not answer."""
    return probes[cluster.leader].server_address if cluster.leader in probes else ""


def _one(host: Host, probe: Probe, usual_torch: tuple[int, ...]) -> Iterator[Finding]:
    python = python_of(host)
    if probe.system != "Linux":
        remedy = "Motley trains on Linux hosts; on Windows, in WSL2. Take this one out of cluster.toml."
        yield Finding(host.name, "system", "error", f"it runs {probe.system}", remedy)
        return
    if _version(probe.python) < OLDEST_PYTHON:
        yield Finding(host.name, "python", "error", *too_old(python, probe.python))
        return
    yield from _torch(host, probe, usual_torch)
    yield from _devices(host, probe)
    if probe.unwritable:
        remedy = f"Make the home folder the user's own: {there(host, 'sudo chown $(id -u) ~ ~/.motley')}"
        yield Finding(host.name, "write", "error", f"~/.motley can't be written: {probe.unwritable}", remedy)
    if probe.disk_free_mib < LITTLE_DISK_MIB:
        level: Literal["error", "warning"] = "error" if probe.disk_free_mib < LEAST_DISK_MIB else "warning"
        cause = f"only {probe.disk_free_mib} MiB are free in {probe.home}"
        yield Finding(
            host.name, "disk", level, cause, f"See what takes the room: {there(host, 'du -xsh ~/.[!.]* ~/*')}"
        )


def _torch(host: Host, probe: Probe, usual: tuple[int, ...]) -> Iterator[Finding]:
    python = python_of(host)
    version = _version(probe.torch)[:2]
    wanted = ".".join(map(str, usual)) if usual >= OLDEST_TORCH else ".".join(map(str, OLDEST_TORCH))
    install = there(host, f'{pasteable([python])} -m pip install "torch=={wanted}.*"')
    if not probe.torch:
        remedy = f"Name the Python that has it as python in cluster.toml, or install it: {install}"
        yield Finding(host.name, "torch", "error", f"{python} (Python {probe.python}) has no torch", remedy)
    elif version < OLDEST_TORCH:
        yield Finding(host.name, "torch", "error", f"torch {probe.torch} is older than 2.6", f"Install it: {install}")
    elif version != usual:
        cause = f"torch {probe.torch}, where most hosts have {wanted}"
        yield Finding(host.name, "torch", "warning", cause, f"It mostly works; to be sure: {install}")


def _devices(host: Host, probe: Probe) -> Iterator[Finding]:
    asked = [device for device in host.devices if device.startswith("cuda")] if host.devices != "auto" else []
    has = f"{len(probe.gpus)} GPU" + "s" * (len(probe.gpus) != 1)
    see = there(host, "nvidia-smi -L")
    for device in asked:
        if int(device.partition(":")[2] or 0) >= len(probe.gpus):
            remedy = f'See what is there: {see}; or set devices = "auto" in cluster.toml.'
            yield Finding(host.name, "devices", "error", f"there is no {device}, it has {has}", remedy)
    if probe.torch and not probe.torch_cuda and probe.gpus:
        remedy = f"Install the build with CUDA for {python_of(host)}; {PYTORCH_HELP} gives the command."
        if asked:
            cause = f"{asked[0]} is asked for, but torch {probe.torch} has no CUDA"
            yield Finding(host.name, "devices", "error", cause, remedy)
        elif host.devices == "auto":
            cause = f"it has {has}, but torch {probe.torch} has no CUDA: it will train on the CPU"
            yield Finding(host.name, "devices", "warning", cause, remedy)


def _leader(cluster: Cluster, probes: Mapping[str, Probe]) -> Iterator[Finding]:
    """Hosts elsewhere can't reach a leader that is known by a loopback address."""
    address = leader_address(cluster, probes)
    if not address or not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    elsewhere = [name for name, probe in probes.items() if probe.boot_id != probes[cluster.leader].boot_id]
    if elsewhere:
        cause = f"it leads, and its address {address} can't be reached from {', '.join(elsewhere)}"
        remedy = "Give its address in the network of the others in cluster.toml, or name another leader."
        yield Finding(cluster.leader, "leader", "error", cause, remedy)


def _script(cluster: Cluster) -> Iterator[Finding]:
    """What cluster.toml says in vain, since the user's own script does not hear of it."""
    if cluster.run.script is None:
        return
    if cluster.unheeded:
        have = "have" if len(cluster.unheeded) > 1 else "has"
        cause = f"{', '.join(cluster.unheeded)} {have} no effect on a script"
        remedy = f"Take that out of cluster.toml; what {cluster.run.script} shall know goes into run.args."
        yield Finding(cluster.leader, "script", "warning", cause, remedy)
    for host in cluster.hosts:
        asked = host.devices if host.devices != "auto" else ()
        if any(device != f"cuda:{n}" for n, device in enumerate(asked) if device.startswith("cuda")):
            cause = f"devices = {list(asked)}, where a script that goes by LOCAL_RANK takes cuda:0 and so on"
            remedy = "Have it take the device that MOTLEY_DEVICE names, or name the devices from cuda:0 on."
            yield Finding(host.name, "devices", "warning", cause, remedy)


def there(host: Host, command: str) -> str:
    """A command to paste that runs on the host; a demo host is this machine."""
    if host.connect == "demo":
        return command
    words = ssh_words(host.address, user=host.user, port=host.port, identity=host.identity, jump=host.jump)
    return f"{pasteable(['ssh', *words])} {shlex.quote(command)}"


def _version(text: str) -> tuple[int, ...]:
    """The numbers at its start: "2.13.0+cpu" is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _most_common(versions: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The newer one when two are equally common; () of none."""
    counts = Counter(versions)
    return max(counts, key=lambda version: (counts[version], version), default=())
