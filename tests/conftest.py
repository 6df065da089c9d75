"""What every test gets: a home of its own, the same hypothesis examples each time, a reason when a GPU is missing."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import hypothesis
import pytest

from tests.support import kinds

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


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:  # noqa: ARG001
    """One more than there are cores: tests of processes wait for these a good part of their time."""
    return (os.cpu_count() or 1) + 1


# Files that take longest, the longest first: each is one worker's, so one that begins last keeps the others waiting.
LONG = [
    "lab/own_code",
    "lab/run",
    "lab/local",
    "lab/elastic",
    "lab/console",
    "trainer/rank/session_with_torch",
    "trainer/torn_state",
    "image_folder",
    "trainer/verbs/script_loops",
    "trainer/accumulation",
    "remote/session/exported_model",
    "trainer/verbs/calibrate",
    "trainer/regroup",
    "use_model",
    "trainer/optimize/local_sgd",
    "trainer/verbs/export",
    "trainer/api/session_faults",
    "trainer/api/session_checkpoints",
    "trainer/own_task",
    "remote/session/join_host",
    "remote/session/session",
    "remote/session_run",
    "remote/script_run",
    "remote/session/follow_run",
    "remote/launch/warm_restart",
    "trainer/rank/session_script",
    "trainer/supervisor/supervisor",
    "trainer/rank/script_rank",
    "remote/own_task_run",
    "trainer/verbs/rerun",
    "remote/launch/calibrate",
    "remote/launch/trial",
    "remote/provision/virtualenv",
    "remote/provision/data",
    "remote/launch/prestart",
    "remote/session/runs",
    "remote/soak",
    "remote/crowd",
    "remote/preflight/misconfigurations",
    "console/tui/app",
    "console/app_runs",
    "fuzz/lying_hosts",
    "profiles/rebalance_proposal",
    "trainer/data/worker_pool",
    "console/cli",
    "trainer/tasks/tasks_models",
    "remote/experiment/folder",
    "console/state/shown_step",
    "remote/ssh/connection",
    "trainer/balance/balancer_noise",
    "trainer/tasks/tasks",
    "imports",
    "profiles/split_solver",
    "console/control/questions",
    "remote/preflight/check",
    "trainer/verbs/link",
    "trainer/verbs/trial",
    "trainer/tasks/image_folder/data_set",
    "trainer/optimize/compilation",
    "fuzz/cluster",
    "fuzz/answers",
    "fuzz/shell",
    "wheel",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--short", action="store_true", help="leave out those tests that are marked as the longest")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files that can't hold a test that -m asks for are not imported."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return None if kinds.can_hold(collection_path, config.option.markexpr) else True


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if kind := kinds.of_folder(item.path):
            item.add_marker(kind)
        if kinds.WHOLE_RUNS & {*getattr(item, "fixturenames", ())} and not item.get_closest_marker("ranks"):
            item.add_marker(pytest.mark.runs)
        if item.get_closest_marker("longest"):
            item.add_marker(pytest.mark.long)
        if unseen := kinds.hidden(item):
            raise pytest.UsageError(f"{item.nodeid} is of {unseen}, which tests/support/kinds.py doesn't read there")

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(HERE).with_suffix("").as_posix().replace("test_", "")
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)
    if config.option.short:
        left_out = [item for item in items if item.get_closest_marker("longest")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not go through it each time."""
    gc.enable()
    gc.collect()
    gc.freeze()
