"""What makes the manifests of hosts that start a run by themselves.

>>> text = manifests(commanded=False)
"""

from __future__ import annotations

from typing import Protocol


class Manifests(Protocol):
    def __call__(self, *, commanded: bool = True) -> str:
        """`commanded`: whether a console can run commands there, which names another leader and brings files home.
        Without one hosts look after themselves, and end as soon as the run has ended."""


def none(*, commanded: bool = True) -> str:  # noqa: ARG001
    """Of hosts that need none."""
    return ""
