"""Why ranks fail, most often: one table of what they say, what it means in plain words, and what mends it. Pure.

    >>> found = find(["ModuleNotFoundError: No module named 'einops'"], None, host="box1", python="/usr/bin/python3")
    >>> found.told
    'einops is not installed on box1. On box1: /usr/bin/python3 -m pip install einops; …'

The wordings are those of torch 2.6 to 2.13, NCCL, gloo, CPython and Linux. docs/failures.md is made from this table by
`remote.diagnosis.failures_page`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from motley.remote.quoting import pasteable
from motley.trainer.devices import printed_errors
from motley.trainer.devices.names import NVIDIAS, SAYS_WHAT_FITS

OOM = -1000  # in place of a signal: ended by SIGKILL, while the kernel says that it ended processes for lack of memory
PYTORCH_HELP = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A row. `says` is searched in an error; names in braces are filled in, those of its groups too."""

    name: str
    says: str = r"(?!)"
    signals: tuple[int, ...] = ()  # that end a process for this reason
    example: str
    means: str
    remedy: str
    detail: str = ""  # more groups, searched for once `says` was found
    aftermath: bool = False  # what a rank says when another one has gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    name: str
    means: str
    remedy: str
    aftermath: bool

    @property
    def told(self) -> str:
        return f"{self.means}. {self.remedy}"


CAUSES: tuple[Cause, ...] = (
    Cause(
        name="shared_memory",
        says=r"shared memory (?:object|limit)|out of shared memory|insufficient shared memory|unable to \w+ .*</torch_"
        r"|killed by signal: Bus error",
        example="DataLoader worker (pid 811) is killed by signal: Bus error. It is possible that dataloader's workers "
        "are out of shared memory.",
        means="/dev/shm on {host} is full: DataLoader workers hand their batches over in it",
        remedy="On {host}: sudo mount -o remount,size=8G /dev/shm (a container is started with --shm-size=8g); "
        "or fewer workers: num_workers=0 needs none",
    ),
    Cause(
        name="gpu_memory",
        says=printed_errors.OUT_OF_MEMORY.says,
        example=printed_errors.OUT_OF_MEMORY.example,
        means="The memory of a GPU of {host} is full",
        remedy="Give it less of the batch: motley run --set hosts.{host}.max_batch=N; for a script, a smaller batch "
        "in its args. On {host}, nvidia-smi shows who else uses the GPU",
    ),
    Cause(
        name="host_memory",
        says=r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|Cannot allocate memory|^MemoryError"
        r"|numpy\S*MemoryError|std::bad_alloc|killed by signal: Killed",
        signals=(OOM,),
        example="DefaultCPUAllocator: can't allocate memory; or signal 9, and a kernel that counts it",
        means="The memory of {host} is full",
        remedy="Let it hold less: motley run --set hosts.{host}.max_batch=N, fewer DataLoader workers, fewer ranks "
        "there (devices). On {host}, free -m shows what is left",
    ),
    Cause(
        name="killed",
        signals=(signal.SIGKILL,),
        example="ended by signal 9 (SIGKILL)",
        means="Something on {host} killed the process: the kernel for lack of memory, a batch system, a user",
        remedy="On {host}: grep oom_kill /proc/vmstat shows how often the kernel did so since it booted, and "
        "free -m what is left",
    ),
    Cause(
        name="disk_full",
        says=r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing"
        r"|unexpected pos \d+ vs",
        example="OSError: [Errno 28] No space left on device",
        means="A disk of {host} is full, or a quota is used up",
        remedy="On {host}: df -h ~ shows how full it is; motley clean removes what old runs have left on the hosts",
    ),
    Cause(
        name="open_files",
        says=r"Too many open files|received 0 items of ancdata",
        example="OSError: [Errno 24] Too many open files",
        means="The process may not open more files on {host}",
        remedy='On {host}: echo "$USER - nofile 65536" | sudo tee /etc/security/limits.d/motley-nofile.conf, which '
        "holds from the next login; or torch.multiprocessing.set_sharing_strategy('file_system') in the script",
    ),
    Cause(
        name="module",
        says=r"No module named '?(?P<package>\w+)",
        example="ModuleNotFoundError: No module named 'einops'",
        means="{package} is not installed on {host}",
        remedy="On {host}: {python} -m pip install {package}; or a line in the file of [environment] "
        "requirements, for all hosts. A file of your own has to be in the pushed folder ([run] project)",
    ),
    Cause(
        name="driver",
        says=r"NVIDIA driver on your system is too old|driver version is insufficient"
        r"|forward compatibility was attempted",
        example="RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
        means="The NVIDIA driver of {host} is too old for its torch",
        remedy=f"Install a torch for an older {NVIDIAS} there, {PYTORCH_HELP} gives the command; or a newer driver, on "
        "Ubuntu: sudo ubuntu-drivers install && sudo reboot",
    ),
    Cause(
        name="kernel_image",
        says=printed_errors.NO_CODE_FOR_DEVICE.says,
        example=printed_errors.NO_CODE_FOR_DEVICE.example,
        means="The torch of {host} was not built for a GPU as old, or as new, as the one there",
        remedy="motley check names the package index that has a torch for it, where that is known. On {host}: {python} "
        f'-c "{SAYS_WHAT_FITS}" shows both; '
        f'{PYTORCH_HELP} has other builds. devices = ["cpu"] goes without',
    ),
    Cause(
        name="no_gpu",
        says=printed_errors.NO_SUCH_DEVICE.says,
        example=printed_errors.NO_SUCH_DEVICE.example,
        means="{host} has not the GPU that is asked for, or its torch can't use it",
        remedy="motley check says which it is. A script takes the device that MOTLEY_DEVICE names",
    ),
    Cause(
        name="device_assert",
        says=printed_errors.INDEX_OUT_OF_RANGE.says,
        example=printed_errors.INDEX_OUT_OF_RANGE.example,
        means="An index was out of range on a GPU, most often a label beyond the number of classes",
        remedy=f"env = {{{{ {printed_errors.AT_EACH_CALL} }}}} for {{host}} makes the traceback name the line",
    ),
    Cause(
        name="download",
        says=r"HTTPS?Connection|urlopen error|^(?:urllib3|requests|httpx|aiohttp|huggingface_hub)\.|huggingface\.co",
        example="HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded",
        means="{host} could not download something: it may have no way to the internet",
        remedy="Bring it from here: [data] push takes a folder to every host, where MOTLEY_DATA names it",
    ),
    Cause(
        name="peer_gone",
        says=r"Connection closed by (?:remote )?peer|Connection reset by (?:remote )?peer|Broken pipe|ncclRemoteError"
        r"|remote process exited|caught collective operation timeout|Connection was likely closed|got 0 bytes"
        r"|caused pair closure|Timed out waiting \d+ms for|NCCL communicator was aborted",
        example="RuntimeError: [pair.cc:534] Connection closed by peer [10.0.0.2]:28048",
        means="The connection to another rank broke: that one has gone, or the network between them",
        remedy="The rank that went first says why. Where none does, motley check looks at the hosts and between them",
        aftermath=True,
    ),
    Cause(
        name="nccl",
        says=printed_errors.NCCL_FAILED.says,
        example=printed_errors.NCCL_FAILED.example,
        means="NCCL could not do its part on {host}",
        remedy='env = {{ NCCL_DEBUG = "INFO" }} for each host has it say why in the log; NCCL_SOCKET_IFNAME there '
        'names the network interface; [run] backend = "gloo" goes without NCCL',
    ),
    Cause(
        name="port",
        says=r"EADDRINUSE|[Aa]ddress already in use",
        detail=r"(?:port: |\]:|\d:)(?P<port>\d{2,5})\b",
        example="The server socket has failed to listen on any local network address. port: 29500, … EADDRINUSE",
        means="Port {port} of {host} is taken",
        remedy="On {host}: ss -ltnp 'sport = :{port}' shows by whom; or another: motley run --set cluster.port=29600",
    ),
    Cause(
        name="unreachable",
        says=r"[Cc]onnection refused|[Cc]onnection timed out|Connect timeout|connectFullMesh failed|No route to host"
        r"|Network is unreachable|client socket has (?:timed out|failed)|waiting for clients",
        example="Gloo connectFullMesh failed with [pair.h:301] Connect timeout",
        means="{host} could not reach another rank: a firewall between them, or the other was not there",
        remedy="motley check tries every pair of hosts, and gives the rule that a firewall lacks",
    ),
    Cause(
        name="host_name",
        says=r"name resolution|Name or service not known|getaddrinfo|nodename nor servname",
        example="socket.gaierror: [Errno -3] Temporary failure in name resolution",
        means="A name could not be looked up on {host}",
        remedy="On {host}: getent hosts NAME tries it. Give numeric addresses; for ranks MASTER_ADDR is one",
    ),
    Cause(
        name="checkpoint",
        says=r"loading state_dict for (?P<model>\w+)",
        example="RuntimeError: Error(s) in loading state_dict for ResNet: size mismatch for fc.weight",
        means="The checkpoint is of another model than this {model}",
        remedy="Build the model as it was when the checkpoint was written: classes, width, layers; or begin without it",
    ),
    Cause(
        name="weights_only",
        says=r"Weights only load failed",
        example="_pickle.UnpicklingError: Weights only load failed.",
        means="The file holds more than tensors, and torch.load takes no more than those since torch 2.6",
        remedy="If you trust who made the file: torch.load(path, weights_only=False); better, keep a state_dict in it",
    ),
    Cause(
        name="two_devices",
        says=r"Expected all tensors to be on the same device",
        example="RuntimeError: Expected all tensors to be on the same device",
        means="The model and its input are on different devices",
        remedy='Move both to the rank\'s own: device = os.environ["MOTLEY_DEVICE"]; model.to(device), batch.to(device)',
    ),
    Cause(
        name="unused_parameters",
        says=r"Expected to have finished reduction in the prior iteration",
        example="RuntimeError: Expected to have finished reduction in the prior iteration before starting a new one.",
        means="A parameter of the model took no part in a step",
        remedy="In the script: DistributedDataParallel(model, find_unused_parameters=True)",
    ),
    Cause(
        name="missing_file",
        says=r"No such file or directory: '?(?P<path>[^'\n]+)",
        example="FileNotFoundError: [Errno 2] No such file or directory: 'data/train.csv'",
        means="There is no {path} on {host}",
        remedy="A script runs in its pushed folder, and finds data of [data] push in MOTLEY_DATA; or copy it to {host}",
    ),
    Cause(
        name="denied",
        says=r"Permission denied(?:: '?(?P<path>[^'\n]+))?",
        example="PermissionError: [Errno 13] Permission denied: '/data/train.csv'",
        means="{path} on {host} is closed to the user that trains there",
        remedy="On {host}: ls -ld {path} shows whose it is. What a script writes goes into MOTLEY_DIR",
    ),
    Cause(
        name="illegal_instruction",
        signals=(signal.SIGILL,),
        example="ended by signal 4 (SIGILL)",
        means="A package on {host} was built for another processor",
        remedy="Install the packages on {host} itself, as [environment] requirements does, in place of copying them; "
        'env = {{ PYTHONFAULTHANDLER = "1" }} has Python name the line',
    ),
    Cause(
        name="bus_error",
        signals=(signal.SIGBUS,),
        example="ended by signal 7 (SIGBUS)",
        means="Memory behind which is a file was not to be had on {host}: /dev/shm is full, or a file was cut short",
        remedy="On {host}: df -h /dev/shm shows the first; fewer DataLoader workers need less of it",
    ),
    Cause(
        name="crash",
        signals=(signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE),
        example="ended by signal 11 (SIGSEGV)",
        means="Compiled code crashed on {host}",
        remedy='env = {{ PYTHONFAULTHANDLER = "1" }} for {host} has Python name the line it came from',
    ),
)

_PIP = {
    "cv2": "opencv-python-headless", "PIL": "Pillow", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "yaml": "PyYAML", "dateutil": "python-dateutil", "bs4": "beautifulsoup4", "google": "protobuf",
}  # fmt: skip
_UNKNOWN = {"port": "29500", "path": "what it wants", "model": "one", "package": "a package"}
_SEARCHES = tuple(re.compile(cause.says, re.MULTILINE) for cause in CAUSES)


def find(texts: Sequence[str], ended_by: int | None, *, host: str, python: str = "") -> Found | None:
    """The row for the first of these texts that has one, else for the signal that ended the process (`OOM`: see there).

    `python` is what the rank ran with.
    """
    for text in texts:
        for cause, search in zip(CAUSES, _SEARCHES):
            if match := search.search(text):
                groups = {name: value for name, value in match.groupdict().items() if value}
                if cause.detail and (more := re.search(cause.detail, text)):
                    groups |= more.groupdict()
                return filled(cause, {**groups, "host": host, "python": python or "python3"})
    for cause in CAUSES:
        if ended_by in cause.signals:
            return filled(cause, {"host": host, "python": python or "python3"})
    return None


def filled(cause: Cause, values: Mapping[str, str]) -> Found:
    """The row with its names filled in. Its remedy may hold a command to paste: there each is one word of a shell."""
    known = {**_UNKNOWN, **values}
    known["package"] = _PIP.get(known["package"], known["package"])
    words = {name: pasteable([value]) for name, value in known.items()}
    means, remedy = Formatter().vformat(cause.means, (), known), Formatter().vformat(cause.remedy, (), words)
    return Found(name=cause.name, means=means, remedy=remedy, aftermath=cause.aftermath)
