"""Which library carries the gradients: gloo or NCCL. Pure, and without torch: `motley check` asks, too.

Letting go of a group that has lost a member is written for gloo, whose sockets can be shut. So `auto` takes NCCL only
as long as all ranks are CUDA ranks of one host; gloo from the moment on in which a second host belongs to the run, for
all, and for good.

    >>> choose_backend("auto", [Member(member=0, host="box1", local_rank=0, device="cuda:0")])
    'nccl'
"""

from __future__ import annotations

from collections.abc import Sequence

from motley.trainer.contract.spec import Member


def choose_backend(wanted: str, members: Sequence[Member], *, nccl: bool = True) -> str:
    """ "gloo" or "nccl". `members`: all that ever belonged to the run; `nccl`: torch was built with it.

    Raises ValueError when NCCL is wanted, which needs every rank on a CUDA device of its own.
    """
    if wanted == "nccl" and not _all_cuda(members):
        raise ValueError("run.backend = 'nccl' needs every rank on CUDA; 'auto' takes gloo here")
    if wanted == "auto":
        return "nccl" if nccl and _all_cuda(members) and len({m.host for m in members}) == 1 else "gloo"
    return wanted


def could_be_quicker(wanted: str, members: Sequence[Member]) -> bool:
    """Whether `auto` takes gloo though NCCL could carry it: the user may prefer that."""
    return wanted == "auto" and _all_cuda(members) and choose_backend(wanted, members) == "gloo"


def _all_cuda(members: Sequence[Member]) -> bool:
    return bool(members) and all(m.device.startswith("cuda") for m in members)
