"""Mixed precision: in which format forward pass and loss are computed (`run.precision`), the same on all ranks.

Weights, gradients and the optimizer stay in the model's own format; autocast chooses for each operation (Micikevicius
et al. 2018). Which formats there are depends on the device, so every group agrees anew when it is formed.

    >>> formats = agreed("auto", abilities(device))    # on every rank, once there is a group
    >>> formats.name, formats.why
    ('bf16', 'every rank computes in it')
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from motley.trainer.devices import accelerator

MISSING, SLOW, NATIVE = 0, 1, 2  # not at all; by way of other formats; with instructions of its own
SHORT = ("bf16", "fp16")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CPU_FLAGS = {"bf16": {"avx512_bf16", "amx_bf16", "bf16"}, "fp16": {"avx512_fp16", "amx_fp16"}}  # x86's, and ARM's bf16
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Precision:
    """What a group computes in: "fp32" means as the model is."""

    name: str = "fp32"
    why: str = ""

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Around a forward pass and its loss."""
        return torch.autocast(device.type, _DTYPES[self.name]) if self.name in _DTYPES else nullcontext()

    @property
    def scales(self) -> bool:
        """Whether gradients would be lost without a loss scale: fp16 has nothing between 0 and 6e-8."""
        return self.name == "fp16"


FULL = Precision()


@functools.cache
def abilities(device: torch.device) -> tuple[int, ...]:
    """How this device computes in each of `SHORT`. A few operations are tried, so it takes a moment the first time."""
    if accelerator.is_gpu(device):
        bf16 = NATIVE if accelerator.has_bf16(device) else SLOW
        return (bf16 if _works(device, "bf16") else MISSING, NATIVE if _works(device, "fp16") else MISSING)
    flags = cpu_flags(_CPU_INFO.read_text() if _CPU_INFO.exists() else "")
    return tuple(
        MISSING if not _works(device, name) else NATIVE if flags & _CPU_FLAGS[name] else SLOW for name in SHORT
    )


def cpu_flags(text: str) -> frozenset[str]:
    """Of /proc/cpuinfo, of the first core.

    >>> sorted(cpu_flags("model name: x\\nflags\\t\\t: fpu avx512_bf16\\n"))
    ['avx512_bf16', 'fpu']
    """
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(next((said.split() for key, _, said in lines if key.strip() in ("flags", "Features")), ()))


def _works(device: torch.device, name: str) -> bool:
    """Whether a convolution and a product of matrices go forward and back in this format."""
    inputs = torch.ones(2, 1, 4, 4, device=device)
    kernel = torch.ones(2, 1, 3, 3, device=device, requires_grad=True)
    weight = torch.ones(3, 8, device=device, requires_grad=True)
    try:
        with torch.autocast(device.type, _DTYPES[name]):
            outputs = nn.functional.linear(nn.functional.conv2d(inputs, kernel).flatten(1), weight)
        torch.autograd.grad(outputs.float().sum(), (kernel, weight))
    except RuntimeError:
        return False
    return True


def choose(asked: str, ranks: Sequence[Sequence[int]]) -> Precision:
    """Of `abilities` in rank order. What was asked for is taken where every rank computes in it at all, else the other
    short format; "auto" takes only what every rank has instructions for.

    >>> choose("auto", [(2, 2), (1, 2)])
    Precision(name='fp16', why='rank 1 has no bf16 of its own')
    """
    if asked == "fp32":
        return FULL
    needed = NATIVE if asked == "auto" else SLOW
    whys: list[str] = []
    for name in ("fp16", "bf16") if asked == "fp16" else SHORT:
        column = SHORT.index(name)
        lacking = [rank for rank, levels in enumerate(ranks) if levels[column] < needed]
        if not lacking:
            return Precision(name, "; ".join(whys) or "every rank computes in it")
        who = f"rank{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"
        have = "has" if len(lacking) == 1 else "have"
        whys.append(f"{who} {have} no {name} of its own" if needed == NATIVE else f"{who} can't compute in {name}")
    return Precision("fp32", "; ".join(whys))


def may_agree(asked: str, mine: Sequence[int], ranks: int) -> list[Precision]:
    """What a group of so many ranks may compute in when this one has the abilities `mine`: first what it would alone.
    Every device that torch runs on is taken to compute in either short format somehow.

    >>> [one.name for one in may_agree("auto", (2, 1), 4)], [one.name for one in may_agree("auto", (2, 1), 1)]
    (['bf16', 'fp32'], ['bf16'])
    """
    if asked == "fp32":
        return [FULL]
    others = itertools.product((SLOW, NATIVE), repeat=len(SHORT)) if ranks > 1 else ()
    found: dict[str, Precision] = {}
    for ranks_of in ([mine], *([mine, other] for other in others)):
        one = choose(asked, ranks_of)
        found.setdefault(one.name, one)
    return list(found.values())


def agreed(asked: str, mine: Sequence[int]) -> Precision:
    """What the group computes in; `mine` are this rank's `abilities`. All ranks come to the same."""
    if asked == "fp32":
        return FULL
    rows = torch.zeros(dist.get_world_size(), len(SHORT), dtype=torch.int64)
    rows[dist.get_rank()] = torch.tensor(mine)
    dist.all_reduce(rows)
    return choose(asked, rows.tolist())
