"""What is wrong with the GPUs of a host, their driver, and the torch that is to use them: pure. `judge` calls it."""

from __future__ import annotations

from collections.abc import Iterator

from motley.remote.config.cluster import Host
from motley.remote.errors import Finding
from motley.remote.hosts.pool import python_of
from motley.remote.preflight.probe import Gpu, Probe
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import there
from motley.trainer.devices.generations import holds, index_for
from motley.trainer.devices.names import (
    BUILT_FOR,
    NVIDIAS,
    built_for,
    cards_of,
    index_of,
    is_gpu,
    is_nvidias,
    kind_of,
    numbered,
)
from motley.trainer.devices.nvidia_driver import is_older, needed, newest_for

PYTORCH_HELP = "https://pytorch.org/get-started/locally"
SEES = "import torch; print(torch.accelerator.current_accelerator(), torch.accelerator.device_count())"
BUSY = 0.25  # of its memory, in other hands


def gpus(host: Host, probe: Probe) -> Iterator[Finding]:
    asked = [card for card in _named(host) if is_gpu(card)]
    used = used_gpus(host, probe)
    yield from _lacking(host, probe, asked)
    if probe.torch and not probe.torch_build and probe.gpus:
        yield from _cpu_build(host, probe, asked)
    if host.runtime is not None and host.devices == "auto" and probe.torch_build and not is_nvidias(probe.torch_build):
        cause = f"its image has a torch for {probe.torch_build}, and containers are given NVIDIA's cards alone"
        remedy = "Run without a container to use its cards: take runtime out of cluster.toml for this host."
        yield Finding(host.name, "devices", "warning", f"{cause}: it will train on the CPU", remedy)
    if probe.accelerator_trouble and (asked or host.devices == "auto"):
        yield _unsaid(host, probe)
    if probe.gpu_trouble and (used or asked or host.devices == "auto"):
        yield _trouble(host, probe, is_used=bool(used or asked))
    needs = needed(probe.torch_build)
    old = next((gpu.driver for gpu in used if gpu.driver and needs and is_older(gpu.driver, needs)), "")
    if old:
        cause = f"torch {probe.torch} is built for {probe.torch_build}; the NVIDIA driver {old} is too old for that"
        remedy = (
            f"Install a torch for {newest_for(old)}, {PYTORCH_HELP} gives the command; or bring the driver "
            f"to {needs} or newer and reboot, on Ubuntu: {there(host, 'sudo ubuntu-drivers install')}"
        )
        yield Finding(host.name, "driver", "error", cause, remedy)
    for gpu in used:
        yield from _generation(host, probe, gpu)
        yield from _busy(host, gpu)


def used_gpus(host: Host, probe: Probe) -> list[Gpu]:
    """NVIDIA's that a run would use."""
    if not is_nvidias(probe.torch_build):
        return []
    if host.devices == "auto":
        return list(probe.gpus)
    return [gpu for gpu in probe.gpus if numbered(gpu.index) in _named(host)]


def _named(host: Host) -> list[str]:
    """Each card of each rank; none where the host takes what is there."""
    return [] if host.devices == "auto" else [card for device in host.devices for card in cards_of(device)]


def _lacking(host: Host, probe: Probe, asked: list[str]) -> Iterator[Finding]:
    kind, _ = built_for(probe.torch_build)
    for device in asked:
        others = not is_nvidias(probe.torch_build) and bool(probe.torch_build)  # AMD's or Intel's: torch was asked
        if kind_of(device) != (kind or kind_of(numbered(0))):
            if probe.torch:
                yield _other_build(host, probe, device)
        elif device not in probe.usable_gpus if others else index_of(device) >= len(probe.gpus):
            see = pasteable([python_of(host), "-c", SEES]) if others else "nvidia-smi -L"
            cause = f"there is no {device}, it has {_count(probe)}"
            if others:
                cause = f"torch {probe.torch} sees no {device} there, but {', '.join(probe.usable_gpus) or 'no GPU'}"
            remedy = f'See what is there: {there(host, see)}; or set devices = "auto" in cluster.toml.'
            yield Finding(host.name, "devices", "error", cause, remedy)


def _other_build(host: Host, probe: Probe, device: str) -> Finding:
    """A card of one maker, and a torch for those of another."""
    cause = f"{device} is asked for, and torch {probe.torch} is built for {probe.torch_build or 'the CPU alone'}"
    words = ", ".join(f"{name} ({kind}:N)" for name, kind in BUILT_FOR.items())
    remedy = f"Install the build for its cards, {PYTORCH_HELP} gives the command: {words}; or take it out of devices."
    return Finding(host.name, "devices", "error", cause, remedy)


def _unsaid(host: Host, probe: Probe) -> Finding:
    cause = (
        f"torch {probe.torch}, built for {probe.torch_build}, did not say what it can use: {probe.accelerator_trouble}"
    )
    see = there(host, pasteable([python_of(host), "-c", SEES]))
    return Finding(host.name, "devices", "error", cause, f'See what it says: {see}; devices = ["cpu"] goes without.')


def _generation(host: Host, probe: Probe, gpu: Gpu) -> Iterator[Finding]:
    """A card for which that torch holds no code: it would be known at the first kernel."""
    if probe.machine != "x86_64" or holds(probe.torch, probe.torch_build, gpu.capability) is not False:
        return
    cause = (
        f"{numbered(gpu.index)} ({gpu.name}) is of compute capability {gpu.capability}, and torch {probe.torch}, "
        f"built for {probe.torch_build}, has no code for it"
    )
    leave = "or leave the GPU out with devices in cluster.toml."
    index = index_for(probe.torch, gpu.capability)
    if not index:
        remedy = f"No torch that Motley runs with has it: {leave[3:]}"
    elif host.runtime is not None:
        remedy = f"Take an image whose torch comes from {index}; {leave}"
    elif host.requirements:
        remedy = f"Write --index-url {index} into {host.requirements}, above torch; {leave}"
    else:
        install = pasteable(
            [python_of(host), "-m", "pip", "install", "--force-reinstall", "torch", "--index-url", index]
        )
        remedy = f"Install one that has: {there(host, install)}; {leave}"
    yield Finding(host.name, "generation", "error", cause, remedy)


def _cpu_build(host: Host, probe: Probe, asked: list[str]) -> Iterator[Finding]:
    remedy = f"Install the build with {NVIDIAS} for {python_of(host)}; {PYTORCH_HELP} gives the command."
    if host.runtime is not None:
        remedy = f"Name an image in cluster.toml whose torch has {NVIDIAS}, such as those of pytorch/pytorch."
    if asked:
        cause = f"{asked[0]} is asked for, but torch {probe.torch} has no {NVIDIAS}"
        yield Finding(host.name, "devices", "error", cause, remedy)
    elif host.devices == "auto":
        cause = f"it has {_count(probe)}, but torch {probe.torch} has no {NVIDIAS}: it will train on the CPU"
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
    cause = f"{numbered(gpu.index)} ({gpu.name}) is in use: {taken} of {gpu.total_mib} MiB are taken by {by}"
    remedy = f"End what is not needed, or leave the GPU out with devices in cluster.toml: {there(host, 'nvidia-smi')}"
    yield Finding(host.name, "gpu", "warning", cause, remedy)


def _count(probe: Probe) -> str:
    return f"{len(probe.gpus)} GPU" + "s" * (len(probe.gpus) != 1)
