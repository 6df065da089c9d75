"""All that is asked of torch about a GPU: which there are, memory, time, random numbers. The only file that does.

Which kind of GPU torch has and how many says `torch.accelerator`; what belongs to one of them is asked of the module
of its kind (`torch.cuda`, which AMD's cards have too, or `torch.xpu`), as in all versions since torch 2.6. A device of
another kind, such as a Mac's, counts as the CPU does.

    >>> count()
    2
    >>> device = torch.device("xpu:1")
    >>> use(device)
    >>> is_gpu(device), name_of(device)
    (True, 'Intel(R) Arc(TM) A770 Graphics')
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.devices import names

if TYPE_CHECKING:
    from torch.profiler import ProfilerActivity


def kind() -> str:
    """Of the GPUs that this torch can use now; empty where there are none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found is not None and found.type in names.GPUS else ""


def count() -> int:
    """How many GPUs this torch can use now."""
    return int(torch.accelerator.device_count()) if kind() else 0


def is_gpu(device: torch.device) -> bool:
    return device.type in names.GPUS


def _of(device: torch.device) -> Any:
    """The module of its kind."""
    return torch.get_device_module(device)


def seen(device: torch.device) -> int:
    """How many of its kind torch sees."""
    return int(_of(device).device_count())


def use(device: torch.device) -> None:
    """Make it the current one."""
    _of(device).set_device(device)


def name_of(device: torch.device) -> str:
    return str(_of(device).get_device_name(device))


def nvml_uuid(device: torch.device) -> str | None:
    """What the NVIDIA driver calls it: torch may count in another order. None for a card of somebody else's."""
    if device.type != names.CUDA or torch.version.hip:
        return None
    return f"GPU-{_of(device).get_device_properties(device).uuid}"


def synchronize(device: torch.device) -> None:
    """Wait until all that was asked of it is done."""
    _of(device).synchronize(device)


def timing_events(device: torch.device, number: int) -> list[Any]:
    """Marks in its queue of work, to measure the time between them without stopping it."""
    with _of(device).device(device):
        return [_of(device).Event(enable_timing=True) for _ in range(number)]


def seed(device: torch.device, number: int) -> None:
    """Its random numbers; nothing on a CPU."""
    if is_gpu(device):
        with _of(device).device(device):
            _of(device).manual_seed(number)


def random_state(device: torch.device) -> Tensor:
    state: Tensor = _of(device).get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    _of(device).set_rng_state(state, device)


def release_memory(device: torch.device) -> None:
    """Give back what torch keeps of its memory and does not use; nothing on a CPU."""
    if is_gpu(device):
        _of(device).empty_cache()


def restart_peak(device: torch.device) -> None:
    """The peak of memory is counted anew from here on."""
    _of(device).reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most that tensors have taken of its memory."""
    return int(_of(device).max_memory_allocated(device))


def peak_reserved_bytes(device: torch.device) -> int:
    """The most that torch has taken of its memory."""
    return int(_of(device).max_memory_reserved(device))


def total_mib(device: torch.device) -> float:
    """What its memory holds, as its properties say: nothing is asked of the driver."""
    return float(_of(device).get_device_properties(device).total_memory) / 2**20


def total_bytes(device: torch.device) -> int:
    return _free_and_total(device)[1]


def free_bytes(device: torch.device) -> int:
    """What nobody has of its memory: what torch keeps and does not use is not in it."""
    return _free_and_total(device)[0]


def room_bytes(device: torch.device) -> int:
    """What there is of its memory, with what this process has."""
    free, _total = _free_and_total(device)
    return free + int(_of(device).memory_reserved(device))


def _free_and_total(device: torch.device) -> tuple[int, int]:
    if hasattr(_of(device), "mem_get_info"):
        free, total = _of(device).mem_get_info(device)
        return int(free), int(total)
    total = int(_of(device).get_device_properties(device).total_memory)  # Intel's in torch 2.6, and nobody else's
    return total - int(_of(device).memory_reserved(device)), total


def has_bf16(device: torch.device) -> bool:
    """Whether it has instructions of its own for bfloat16."""
    if not hasattr(_of(device), "is_bf16_supported"):  # Intel's in torch 2.6
        return False
    with _of(device).device(device), contextlib.suppress(TypeError):
        return bool(_of(device).is_bf16_supported(including_emulation=False))
    return False


def ddp_ids(device: torch.device) -> list[int | None] | None:
    """What DistributedDataParallel wants as `device_ids` for a module on it."""
    return [device.index] if is_gpu(device) else None


def profiled(device: torch.device) -> list[ProfilerActivity]:
    """What the profiler is to look at."""
    from torch.profiler import ProfilerActivity

    own = {names.CUDA: ProfilerActivity.CUDA, names.XPU: ProfilerActivity.XPU}
    return [ProfilerActivity.CPU] + [activity for kind, activity in own.items() if kind == device.type]


def libraries() -> tuple[str, ...]:
    """Those of `names.COLLECTIVES` that this torch was built with."""
    found = {library: getattr(dist, f"is_{library}_available", bool) for library in names.COLLECTIVES.values()}
    return tuple(library for library, is_there in found.items() if is_there())  # torch 2.6 knows only nccl
