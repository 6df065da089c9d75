"""What every test gets: a home of its own, the same hypothesis examples each time, a reason when a GPU is missing."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import hypothesis
import pytest

HERE = Path(__file__).parent
HOMES = itertools.count()

# The garbage collector took a tenth of the time of `make test-fast`. While tests are collected it would find nothing.
gc.set_threshold(20_000, 20, 20)
gc.disable()

# Before torch is imported: tests that fork ranks would otherwise fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("motley", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile(  # `make fuzz`
    "fuzz",
    hypothesis.settings.get_profile("motley"),
    derandomize=False,
    max_examples=10_000,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("motley")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that no test reads or writes the one of whoever runs it."""
    folder = tmp_path_factory.getbasetemp() / f"home{next(HOMES)}"  # mktemp would look through all there are
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("MOTLEY_")]:
        monkeypatch.delenv(name)
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no NVIDIA GPU that torch can use on this machine")


# Files that take longest, the longest first: each is one worker's, so one that begins last keeps the others waiting.
LONG = [
    "remote/session/session",
    "remote/session/join_host",
    "remote/soak",
    "remote/crowd",
    "remote/script_run",
    "remote/session/follow_run",
    "remote/preflight/misconfigurations",
    "remote/launch/warm_restart",
    "remote/provision/virtualenv",
    "trainer/verbs/calibrate",
    "remote/launch/calibrate",
    "console/tui/app",
    "console/app_runs",
    "remote/session/runs",
    "trainer/supervisor/supervisor",
    "trainer/tasks/tasks",
    "remote/session/session_start",
    "fuzz/shell",
    "trainer/rank/script_rank",
    "remote/session/follow_host",
    "profiles/rebalance_proposal",
    "remote/provision/data",
    "remote/launch/prestart",
    "console/cli",
    "remote/rpc/clean",
    "trainer/tasks/tasks_models",
    "remote/preflight/check",
    "remote/ssh/connection",
    "remote/ssh/connection_failures",
    "remote/experiment/fetch",
]


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.runs)

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(HERE).with_suffix("").as_posix().replace("test_", "")
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not go through it each time."""
    gc.enable()
    gc.collect()
    gc.freeze()
