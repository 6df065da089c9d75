"""What is wrong with the GPUs of a host, its driver and the CUDA of its torch: pure. `judge` calls it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from motley.remote.config.cluster import Host
from motley.remote.errors import Finding
from motley.remote.hosts.pool import python_of
from motley.remote.preflight.probe import Gpu, Probe
from motley.remote.ssh.shell import there

PYTORCH_HELP = "https://pytorch.org/get-started/locally"
BUSY = 0.25  # of its memory, in other hands
# Oldest Linux driver for each major version of CUDA; minor versions go with any driver of their major one.
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}


def gpus(host: Host, probe: Probe) -> Iterator[Finding]:
    asked = [device for device in host.devices if device.startswith("cuda")] if host.devices != "auto" else []
    used = used_gpus(host, probe)
    yield from _lacking(host, probe, asked)
    if probe.torch and not probe.torch_cuda and probe.gpus:
        yield from _no_cuda(host, probe, asked)
    if probe.gpu_trouble and (used or asked or host.devices == "auto"):
        yield _trouble(host, probe, is_used=bool(used or asked))
    needs = OLDEST_DRIVER.get(next(iter(_numbers(probe.torch_cuda)), 0), "")
    old = next((gpu.driver for gpu in used if gpu.driver and needs and _numbers(gpu.driver) < _numbers(needs)), "")
    if old:
        cause = f"torch {probe.torch} is built for CUDA {probe.torch_cuda}; the NVIDIA driver {old} is too old for that"
        remedy = (
            f"Install a torch for CUDA {_highest(old)}, {PYTORCH_HELP} gives the command; or bring the driver "
            f"to {needs} or newer and reboot, on Ubuntu: {there(host, 'sudo ubuntu-drivers install')}"
        )
        yield Finding(host.name, "driver", "error", cause, remedy)
    for gpu in used:
        yield from _busy(host, gpu)


def used_gpus(host: Host, probe: Probe) -> list[Gpu]:
    """Those that a run would use."""
    if not probe.torch_cuda:
        return []
    if host.devices == "auto":
        return list(probe.gpus)
    wanted = {_index(device) for device in host.devices if device.startswith("cuda")}
    return [gpu for gpu in probe.gpus if gpu.index in wanted]


def _lacking(host: Host, probe: Probe, asked: list[str]) -> Iterator[Finding]:
    for device in asked:
        if _index(device) >= len(probe.gpus):
            remedy = f'See what is there: {there(host, "nvidia-smi -L")}; or set devices = "auto" in cluster.toml.'
            yield Finding(host.name, "devices", "error", f"there is no {device}, it has {_count(probe)}", remedy)


def _no_cuda(host: Host, probe: Probe, asked: list[str]) -> Iterator[Finding]:
    remedy = f"Install the build with CUDA for {python_of(host)}; {PYTORCH_HELP} gives the command."
    if host.runtime is not None:
        remedy = "Name an image in cluster.toml whose torch has CUDA, such as those of pytorch/pytorch."
    if asked:
        cause = f"{asked[0]} is asked for, but torch {probe.torch} has no CUDA"
        yield Finding(host.name, "devices", "error", cause, remedy)
    elif host.devices == "auto":
        cause = f"it has {_count(probe)}, but torch {probe.torch} has no CUDA: it will train on the CPU"
        yield Finding(host.name, "devices", "warning", cause, remedy)


def _trouble(host: Host, probe: Probe, *, is_used: bool) -> Finding:
    """The driver does not work: until the reboot after an update, or because it is not built for this kernel."""
    cause = f"the NVIDIA driver does not work: {probe.gpu_trouble}"
    if "mismatch" in probe.gpu_trouble:
        remedy = f"The driver was updated and the old one still runs; reboot: {there(host, 'sudo reboot')}"
    else:
        load = there(host, "sudo modprobe nvidia; sudo dmesg | grep -i nvrm | tail")
        remedy = f"Load it, or see why that fails: {load}"
    if is_used:
        return Finding(host.name, "driver", "error", cause, remedy)
    return Finding(host.name, "driver", "warning", f"{cause}; it will train on the CPU", remedy)


def _busy(host: Host, gpu: Gpu) -> Iterator[Finding]:
    if gpu.total_mib is None or gpu.free_mib is None or gpu.total_mib - gpu.free_mib < BUSY * gpu.total_mib:
        return
    by = gpu.users or "processes that it does not show"
    taken = gpu.total_mib - gpu.free_mib
    cause = f"cuda:{gpu.index} ({gpu.name}) is in use: {taken} of {gpu.total_mib} MiB are taken by {by}"
    remedy = f"End what is not needed, or leave the GPU out with devices in cluster.toml: {there(host, 'nvidia-smi')}"
    yield Finding(host.name, "gpu", "warning", cause, remedy)


def _highest(driver: str) -> int:
    """The newest major version of CUDA that the driver can do."""
    return max((cuda for cuda, oldest in OLDEST_DRIVER.items() if _numbers(oldest) <= _numbers(driver)), default=11)


def _count(probe: Probe) -> str:
    return f"{len(probe.gpus)} GPU" + "s" * (len(probe.gpus) != 1)


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
