"""Which of the run's hosts this pod is, and where the one that leads is: from the environment. Pure.

Three operators number their pods in two ways:

| operator | the pod's number | the leader's name |
|---|---|---|
| PyTorchJob | `RANK` | `MASTER_ADDR` |
| JobSet, TrainJob | `MOTLEY_POD_FIRST`, of its group, and `JOB_COMPLETION_INDEX` in it | `MOTLEY_LEADER` |

    >>> place_of({"RANK": "1", "MASTER_ADDR": "night-master-0"}, ["gpu", "cpu"])
    Place(host='cpu', leads=False, leader='night-master-0')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

FIRST, INDEX, LEADER = "MOTLEY_POD_FIRST", "JOB_COMPLETION_INDEX", "MOTLEY_LEADER"
IP, TOKEN = "MOTLEY_POD_IP", "MOTLEY_TOKEN"
NOT_FOR_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", TOKEN)
OF_TORCHRUN = "PET_"  # what begins so tells torchrun of a group that is not ours


class Place(NamedTuple):
    host: str
    leads: bool
    leader: str  # the name under which pods find the one that leads


def place_of(environ: Mapping[str, str], hosts: Sequence[str]) -> Place:
    """`hosts` in the order of the pods' numbers; the first one leads. Raises ValueError that says what is missing."""
    if FIRST in environ:
        number = _whole(environ, FIRST) + _whole(environ, INDEX)
        leader = environ.get(LEADER, "")
    elif "RANK" in environ:
        number, leader = _whole(environ, "RANK"), environ.get("MASTER_ADDR", "")
    else:
        raise ValueError(
            f"this pod does not know its number: neither RANK, which a PyTorchJob gives, nor {FIRST} is there. "
            "Pods of a run are made by the manifests that `motley export kubernetes` writes"
        )
    if not 0 <= number < len(hosts):
        raise ValueError(f"this pod has number {number}, and the run has {len(hosts)}: the manifest was changed")
    if number and not leader:
        raise ValueError(f"this pod does not know where {hosts[0]} is: {LEADER} and MASTER_ADDR are empty")
    return Place(host=hosts[number], leads=number == 0, leader=leader)


def for_ranks(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the operator says of a group of its own: that would mislead torch."""
    return {
        name: value for name, value in environ.items() if name not in NOT_FOR_RANKS and not name.startswith(OF_TORCHRUN)
    }


def _whole(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, and must be the number of a pod")
    return int(text)
