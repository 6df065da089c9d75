"""A real Slurm for tests: two partitions over hosts of the lab, brought up once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.slurm import Slurm, why_not
from tests.support.absent import not_here


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Slurm]:
    if reason := why_not():
        not_here(reason)
    with Slurm({"fast1": 0.8, "fast2": 0.8, "slow1": 0.3}) as slurm:
        yield slurm


@pytest.fixture
def slurm(_slurm: Slurm) -> Iterator[Slurm]:
    """Nodes fast1 and fast2 in the partition `fast`, 0.8 cores each; slow1 in `slow`, 0.3 cores."""
    yield _slurm
    _slurm.mend()
