"""What a host says of itself before anything is sent there, as data.

`remote.preflight.host_inspection` asks one, `remote.preflight.check` all at once, `remote.preflight.judge` judges the
answers; a start uses them to push, place ranks and choose addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motley.remote.answers import made
from motley.remote.hosts.image_contents import Library
from motley.trainer.devices.names import build_of, is_gpu, is_name, is_nvidias, numbered

SELF = "self"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a host is asked beyond what it is."""

    leader: str = ""  # numeric address, `SELF` for the leader; without it, its place in the network is not known
    own: str = ""  # its own numeric address, where no SSH connection tells it
    ports: tuple[int, ...] = ()  # to be free on the leader
    data: dict[str, str] | None = None  # "path", "name": a folder that is to be there, and what else holds the data
    code: str = ""  # hash of the tree that a run needs: whether it is whole there is looked at
    command: str = ""  # a program of the host's that the run starts there
    path: str = ""  # PATH of the run there, where cluster.toml says so
    libraries: tuple[str, ...] = ()  # packages whose versions are asked for
    folders: tuple[str, ...] = ()  # of `[environment] mounts`, that are to be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One of NVIDIA's."""

    index: int
    name: str
    total_mib: int | None  # None when only the driver's files could be read
    free_mib: int | None
    driver: str
    users: str = ""  # the processes that compute on it
    capability: str = ""  # its generation, as compute capability: "8.6"; empty where the driver does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A GPU that the torch there can use, in its own words: asked only where NVML would not know it."""

    device: str
    name: str
    total_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """The answer to what its torch can use."""

    accelerators: tuple[Accelerator, ...]
    trouble: str  # why it did not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A run that has processes there."""

    run: str
    host: str  # the host's name in that run
    pids: tuple[int, ...]
    supervised: bool  # its supervisor lives: the run is at work


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The answer of `trainer.bootstrap`. Texts are empty where there is nothing."""

    python: str  # version
    executable: str
    hostname: str
    system: str  # "Linux"
    kernel: str = ""  # release
    machine: str  # "x86_64"
    home: str
    boot_id: str
    clock: float  # seconds since 1970
    clock_ahead_s: float = 0.0  # of this machine's clock, at least; negative when it is behind
    torch: str
    torch_build: str  # what it is built for: "CUDA 13.0", "ROCm 6.4", "XPU 20250301"
    pillow: str = ""  # version
    libraries: tuple[Library, ...] = ()  # those that were asked for
    folders_missing: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...]
    gpu_trouble: str = ""  # what nvidia-smi said instead
    accelerators: tuple[Accelerator, ...] = ()  # asked for later: that takes seconds
    accelerator_trouble: str = ""  # why torch did not say
    cpu_model: str
    cores: int  # that the user's processes may use
    memory_mib: int
    memory_available_mib: int | None = None
    disk_free_mib: int  # where the home folder is
    unwritable: str  # why ~/.motley can't be written
    data_missing: str = ""  # why the folder of [data] path can't be used
    command_missing: str = ""  # where the program that was asked for was looked for in vain
    data_elsewhere: bool = False  # whether the data may lie where it is looked for else
    user: str = ""
    ends_with_login: bool = False  # systemd ends the user's processes with the last login
    open_files: int | None = None  # that a process may have; None: any number
    processes_left: int | None = None  # that the user may still start
    leftovers: tuple[Leftover, ...] = ()
    server_address: str  # the address that our connection reached, or that was said to be its own
    address: str  # of this host on the way to the leader
    no_way: str = ""  # why there is no way to the leader
    interface: str  # that has this address
    network: str = ""  # that it is in: "10.0.0.0/24"
    interfaces: tuple[str, ...] = ()
    firewall: str = ""  # whose command adds a rule: "ufw", "firewalld", "iptables"
    port: int = 0  # the first of the ports asked for that is taken
    port_taken: str = ""  # why nothing can listen there
    port_holder: str = ""  # what listens there
    port_run: str = ""  # the run that it belongs to
    code: tuple[str, ...]  # hashes of the trees that are whole there; others may be, nobody has looked yet
    runs: tuple[str, ...] = ()  # names of those it keeps

    @property
    def only_torch_knows(self) -> bool:
        """Whether it has a torch for cards that NVIDIA's driver does not know."""
        return bool(self.torch_build) and not is_nvidias(self.torch_build)

    @property
    def names_of_gpus(self) -> dict[str, str]:
        """Of those that its torch can use, by device."""
        if is_nvidias(self.torch_build):
            return {numbered(gpu.index): gpu.name for gpu in self.gpus}
        return {one.device: one.name for one in self.accelerators if is_gpu(one.device) and is_name(one.device)}

    @property
    def usable_gpus(self) -> tuple[str, ...]:
        """The devices that its torch can use, without the CPU."""
        return tuple(self.names_of_gpus)


def ahead(clock: float, began: float, ended: float) -> float:
    """How far a clock that was read between two times of ours is ahead of ours, at least; below 0: behind.

    >>> ahead(105.0, 99.5, 100.5), ahead(100.0, 99.5, 100.5), ahead(90.0, 99.5, 100.5)
    (4.5, 0.0, -9.5)
    """
    return clock - ended if clock > ended else min(0.0, clock - began)


def too_old(python: str, version: str) -> tuple[str, str]:
    """Cause and remedy."""
    remedy = "Name a newer one as python in cluster.toml, such as ~/venv/bin/python."
    return f"{python} is Python {version}; Motley needs 3.10 or newer", remedy


def parse(answer: Mapping[str, Any]) -> Probe:
    """Raises ValueError that names the field that is missing or of another type."""
    build = answer.get("torch_build")
    told = {**answer, "torch_build": build_of(build)} if isinstance(build, str) else answer
    found = made(Probe, {**told, "accelerators": [], "accelerator_trouble": ""})
    for address in filter(None, (found.server_address, found.address)):  # they go into commands to paste
        ipaddress.ip_address(address)
        if "%" in address:  # any text may stand behind it
            raise ValueError(f"the address {address}")
    if found.network:
        ipaddress.ip_network(found.network)
    return found
