"""How a rank tells that its process group has broken, by what a collective raises.

The coordinator may say so before (`coordinator_client`). torch is imported when it is asked: a rank says hello first.
"""

from __future__ import annotations

import re


def broken_by(error: Exception) -> str:
    """gloo's own words, without where in its sources they stand."""
    said = str(error).splitlines()[0]
    return re.split(r"\. This (?:is|may)", said.rpartition(".cc:")[2].partition("] ")[2] or said)[0][:200]


def is_broken_collective(error: Exception) -> bool:
    """gloo raises plain RuntimeErrors that name its sources; a timeout of a collective, or of the store, names it."""
    from torch.distributed import DistError

    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "TCPStore", "tcpstore")
    text = str(error)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and any(word in text for word in words))
