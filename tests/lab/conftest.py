"""The lab for tests: `lab` brings four real hosts up once a session; whatever a test broke is mended after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab, why_not
from tests.support.absent import not_here


@pytest.fixture(scope="session")
def can_have_a_lab() -> None:
    if reason := why_not():
        not_here(reason)


@pytest.fixture(scope="session")
def lab(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    """Four hosts: box1 has 0.8 cores, box2 0.4, box3 and box4 0.2 each."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def brisk_lab(lab: Lab) -> Lab:
    """The same four hosts with 0.8 cores each, where their speed is not tested: torch is imported much sooner."""
    for host in lab.hosts.values():
        host.set_quota(0.8)
    return lab


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> Iterator[None]:
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    yield
    if lab is not None:
        lab.heal()
