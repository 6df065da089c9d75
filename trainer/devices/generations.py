"""Whether a torch holds code for a generation of NVIDIA's cards, by the tables of its builds: pure. `judge_gpus` asks.

What a build holds is known of those that pytorch.org and the package index give out for Linux on x86-64; of others,
such as those of NVIDIA's containers or of a distribution, nothing is said. Sources:

- torch 2.8 and newer: the "CUDA support matrix" of RELEASE.md in pytorch/pytorch (pull requests 164471 for 2.9 and
  2.10, 175253 for 2.11, 182849 for 2.12; issue 190355 for 2.14), and issue 157517 for Volta in 2.8.
- torch 2.6 and 2.7: what `torch.cuda.get_arch_list()` says there (issue 144071 for 2.6; nikopueringer/CorridorKey, pull
  request 141, for 2.7 and 2.10). CUDA 12.8 began with 2.7, without Volta.
- Code for a generation runs on later cards of the same major number: 8.6 on 8.9, 10.0 on 10.3, 12.0 on 12.1 (NVIDIA's
  CUDA C++ programming guide, "binary compatibility").

    >>> holds("2.6.0+cu124", "CUDA 12.4", "12.0"), holds("2.7.0+cu128", "CUDA 12.8", "12.0")
    (False, True)
    >>> index_for("2.6.0+cu124", "12.0")
    'https://download.pytorch.org/whl/cu128'
"""

from __future__ import annotations

import re

INDEX = "https://download.pytorch.org/whl/"
NEWEST_TORCH = (2, 14)
NEWEST_MAJOR = 12  # compute capability that was known when the tables were written
TURING = (7, 5)
_OLD = {5: 0, 6: 0, 7: 0, 8: 0, 9: 0}  # by major number, the least minor one that there is code for
_VOLTA = {7: 0, 8: 0, 9: 0, 10: 0, 12: 0}
_TURING = {7: 5, 8: 0, 9: 0, 10: 0, 12: 0}


def holds(torch: str, build: str, capability: str) -> bool | None:
    """Whether the torch of that version and build computes on a card of that capability; None: nobody knows."""
    card, table = _numbers(capability), _table(torch, build)
    if len(card) != 2 or not 5 <= card[0] <= NEWEST_MAJOR or table is None:
        return None
    return card[1] >= table.get(card[0], 99)


def index_for(torch: str, capability: str) -> str:
    """Of packages whose torch holds code for such a card: empty where there is none.

    CUDA 12.8 has been given out with torch 2.7 to 2.11, 13.0 since 2.9, 12.6 since 2.6.
    """
    card = _numbers(capability)
    if card < (5, 0) or card[0] > NEWEST_MAJOR:
        return ""
    if card < TURING:
        return INDEX + "cu126"
    return INDEX + ("cu128" if _numbers(torch)[:2] < (2, 12) else "cu130")


def _table(torch: str, build: str) -> dict[int, int] | None:
    version, cuda = _numbers(torch.partition("+")[0])[:2], _numbers(build)[:2]
    official = re.fullmatch(r"\d+\.\d+\.\d+\+cu(\d+)", torch)
    if official is None or official[1] != "".join(map(str, cuda)) or not build.startswith("CUDA"):
        return None
    if cuda >= (14, 0) or version < (2, 0) or version > NEWEST_TORCH:
        return None
    if cuda < (12, 8):
        return _OLD
    if cuda >= (13, 0) or version == (2, 7) or version >= (2, 11):
        return _TURING
    return _VOLTA


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))
