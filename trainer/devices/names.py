"""What devices are called, and what follows from the name alone. No torch: the master asks, too.

torch calls NVIDIA's cards `cuda`, and AMD's as well where it was built for ROCm; Intel's are `xpu`.

    >>> kind_of("cuda:1"), index_of("cuda:1"), is_gpu("xpu:0"), is_gpu("cpu")
    ('cuda', 1, True, False)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

CPU, CUDA, XPU = "cpu", "cuda", "xpu"
GPUS = (CUDA, XPU)  # the kinds that have ranks of their own
NVIDIAS = "CUDA"  # what NVIDIA's cards are programmed in
BUILT_FOR = {NVIDIAS: CUDA, "ROCm": CUDA, "XPU": XPU}  # what a torch is built for, and how it calls its devices
_WORDS = {"cuda": NVIDIAS, "hip": "ROCm", "rocm": "ROCm", "xpu": "XPU"}  # of torch/version.py
SAYS_WHAT_FITS = "import torch; print(torch.cuda.get_device_capability(), torch.cuda.get_arch_list())"
COLLECTIVES = {CUDA: "nccl", XPU: "xccl"}  # the library of each kind that carries gradients between its own
BY_GLOO = (CPU, CUDA)  # gloo takes no tensors of others
UNTOUCHED = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # to look for GPUs must not begin to use them, before a fork
IMAGE = "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime"  # of containers, as an example
_NUMBER = "(?:0|[1-9][0-9]{0,2})"
_NAME = re.compile(rf"{CPU}|(?:{'|'.join(GPUS)}):{_NUMBER}(?:\+{_NUMBER})*")


def is_name(text: str) -> bool:
    """Whether a rank can be given such a device, wherever it is, or such cards."""
    return _NAME.fullmatch(text) is not None and len(set(cards_of(text))) == len(cards_of(text))


def together(cards: Sequence[str]) -> str:
    """What several cards of one kind are called that one rank computes on: one word, as that of a device.

    >>> together(["cuda:0", "cuda:2"]), together(["cuda:1"])
    ('cuda:0+2', 'cuda:1')
    """
    return "+".join([cards[0], *(str(index_of(card)) for card in cards[1:])])


def cards_of(device: str) -> tuple[str, ...]:
    """The other way round: what torch calls each of a rank's devices.

    >>> cards_of("cuda:0+2"), cards_of("cpu")
    (('cuda:0', 'cuda:2'), ('cpu',))
    """
    first, *more = device.split("+")
    return (first, *(f"{kind_of(device)}:{number}" for number in more))


def numbered(index: int) -> str:
    """The number of a GPU is short for a full name: 1 -> `cuda:1`."""
    return f"{CUDA}:{index}"


def examples() -> str:
    """For messages.

    >>> examples()
    '"cpu", "cuda:0", "xpu:0"'
    """
    return ", ".join(f'"{name}"' for name in (CPU, *(f"{kind}:0" for kind in GPUS)))


def kind_of(device: str) -> str:
    return device.partition(":")[0]


def index_of(device: str) -> int:
    """Among those of its kind on the host; of several cards, the first one's."""
    return int(cards_of(device)[0].partition(":")[2] or 0)


def is_gpu(device: str) -> bool:
    return kind_of(device) in GPUS


def has_eight_bit_optimizers(device: str) -> bool:
    """Whether bitsandbytes, which has them, computes them there."""
    return kind_of(device) == CUDA


def one_kind(devices: Sequence[str]) -> str:
    """The kind of GPU that all of them are; empty where they are not."""
    kinds = {kind_of(device) for device in devices}
    return next(iter(kinds)) if len(kinds) == 1 and kinds <= set(GPUS) else ""


def build_of(told: str) -> str:
    """What a torch is built for, as people call it, from the word and the version in its own file.

    >>> build_of("hip 6.4"), build_of("cuda 12.8"), build_of("")
    ('ROCm 6.4', 'CUDA 12.8', '')
    """
    word, _, version = told.partition(" ")
    return f"{_WORDS[word]} {version}" if word in _WORDS else ""


def built_for(build: str) -> tuple[str, str]:
    """How a torch calls the devices that it was built for, and the version of what they need.

    >>> built_for("CUDA 12.8"), built_for("ROCm 6.4"), built_for("")
    (('cuda', '12.8'), ('cuda', '6.4'), ('', ''))
    """
    what, _, version = build.partition(" ")
    return BUILT_FOR.get(what, ""), version


def is_nvidias(build: str) -> bool:
    """Whether this torch is one for the cards that NVML knows."""
    return build.startswith(NVIDIAS)


def group_backends(backend: str) -> str:
    """What torch is to make a process group with: tensors on the CPU always go by gloo.

    >>> group_backends("nccl"), group_backends("gloo")
    ('cpu:gloo,cuda:nccl', 'gloo')
    """
    kind = next((kind for kind, library in COLLECTIVES.items() if library == backend), None)
    return backend if kind is None else f"{CPU}:gloo,{kind}:{backend}"


def nvml_device(device: str, env: Mapping[str, str]) -> int | str | None:
    """What `nvidia-smi` calls the GPU that torch calls `device` with these variables; None where there is none. Of
    several cards the first.

    >>> nvml_device("cuda:1", {}), nvml_device("cuda:1", {"CUDA_VISIBLE_DEVICES": "3,GPU-5c2"}), nvml_device("cpu", {})
    (1, 'GPU-5c2', None)
    """
    kind, _, number = cards_of(device)[0].partition(":")
    if kind != CUDA or not (number or "0").isdigit():
        return None
    index = int(number or 0)
    visible = [name.strip() for name in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not visible:
        return index
    if index >= len(visible):
        return None
    return int(visible[index]) if visible[index].isdigit() else visible[index]
