"""How a rank tells that its process group has broken, by what a collective raises.

The coordinator may say so before (`coordinator_client`). torch is imported when it is asked: a rank says hello first.
"""

from __future__ import annotations

import re

from motley.trainer.errors import GroupRefused

LONGEST = 200  # characters
NO_USE = ("ncclInvalidUsage", "ncclInvalidArgument")  # the next group would be refused as this one


def broken_by(error: Exception) -> str:
    """gloo's own words, or NCCL's, without where in their sources they stand."""
    text = str(error)
    code = re.search(r"^(nccl\w+): (.*)", text, re.MULTILINE)
    if code is not None:
        own = text.partition("Last error:")[2].strip()
        return f"{' '.join((own or code[2]).split())[: LONGEST - 50]} ({code[1]})"
    said = (text.splitlines() or [""])[0]
    return re.split(r"\. This (?:is|may)", said.rpartition(".cc:")[2].partition("] ")[2] or said)[0][:LONGEST]


def is_broken_collective(error: Exception) -> bool:
    """gloo raises plain RuntimeErrors that name its sources; a timeout of a collective, or of the store, names it."""
    from torch.distributed import DistError

    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "TCPStore", "tcpstore")
    text = str(error)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and any(word in text for word in words))


def refused(error: Exception) -> GroupRefused | None:
    """What to end with when NCCL takes no such group, as of two ranks on one card; None when the group broke."""
    from torch.distributed import DistError

    if not isinstance(error, DistError) or not any(code in str(error) for code in NO_USE):
        return None
    remedy = 'Mend that, or let gloo carry the gradients: [run] backend = "gloo"'
    return GroupRefused(f"NCCL does not take these ranks: {broken_by(error)}", remedy)
