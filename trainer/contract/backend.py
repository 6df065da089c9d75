"""Which library carries the gradients: gloo, or that of the GPUs (NCCL, Intel's XCCL). Pure, and without torch: `motley
check` asks, too.

Letting go of a group that has lost a member is written for gloo, whose sockets can be shut. So `auto` takes the GPUs'
own library only as long as all ranks are GPUs of one kind on one host; gloo from the moment on in which a second host
belongs to the run, for all, and for good. gloo takes no tensors of Intel's cards: these always go by XCCL.

    >>> choose_backend("auto", [Member(member=0, host="box1", local_rank=0, device="cuda:0")])
    'nccl'
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from motley.trainer.contract.spec import Member
from motley.trainer.devices.names import BY_GLOO, COLLECTIVES, kind_of, one_kind

ALL = tuple(COLLECTIVES.values())


def choose_backend(wanted: str, members: Sequence[Member], *, built_with: Collection[str] = ALL) -> str:
    """ "gloo", "nccl" or "xccl". `members`: all that ever belonged to the run; `built_with`: what torch has of the last
    two.

    Raises ValueError for a library that needs every rank on a GPU of its kind, and for GPUs that none can serve.
    """
    kind = one_kind([m.device for m in members])
    own = COLLECTIVES.get(kind, "")
    if wanted in ALL and wanted != own:
        kinds = next(kind for kind, library in COLLECTIVES.items() if library == wanted)
        raise ValueError(f"run.backend = '{wanted}' needs every rank on {kinds.upper()}; 'auto' takes gloo here")
    if wanted != "auto":
        chosen = wanted
    elif own in built_with and (kind not in BY_GLOO or len({m.host for m in members}) == 1):
        chosen = own
    else:
        chosen = "gloo"
    odd = next((m for m in members if kind_of(m.device) not in BY_GLOO), None)
    if chosen == "gloo" and odd is not None:
        needed = COLLECTIVES[kind_of(odd.device)]
        why = f"which torch is without on {odd.host}" if own == needed and wanted == "auto" else "between its like"
        raise ValueError(f"gloo carries nothing of {odd.device} of {odd.host}: that goes by {needed}, {why}")
    return chosen


def could_be_quicker(wanted: str, members: Sequence[Member]) -> str:
    """The library that could carry it where `auto` takes gloo: the user may prefer that. Empty where there is none."""
    own = COLLECTIVES.get(one_kind([m.device for m in members]), "")
    return own if wanted == "auto" and own and choose_backend(wanted, members) == "gloo" else ""
