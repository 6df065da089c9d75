"""Workers: what they fetch is what the rank would have, whichever of them fetches it; and how they end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from motley.trainer.data.loading import Loading
from motley.trainer.data.task_data import TaskData
from motley.trainer.data.worker import Sample
from motley.trainer.data.worker_pool import WorkerPool
from motley.trainer.errors import DataError, TaskError
from motley.trainer.host.paths import HERE
from motley.trainer.host.processes import start_ticks
from motley.trainer.tasks.task import Task
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.data.datasets import ByWhom, Faulty, Shaken, Unsendable, WithLock

Made = Callable[..., WorkerPool]


@pytest.fixture
def made() -> Iterator[Made]:
    """A pool, whose workers end with the test."""
    pools = []

    def make(dataset: Any, *, count: int = 2, project: Path | None = None) -> WorkerPool:
        pools.append(WorkerPool({"train": dataset}, count=count, project=project))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
        assert not [pid for pid in pool.pids if start_ticks(pid) is not None]


def samples(*numbers: int) -> list[Sample]:
    return [Sample("train", number, seed=1) for number in numbers]


class Randomly(Task):
    def train_data(self) -> Shaken:
        return Shaken()

    def test_data(self) -> Shaken:
        return Shaken(7)

    def collate(self, drawn: Any) -> Any:
        """As those do that hide some words by chance."""
        batch = super().collate(drawn)
        batch["hidden"] = torch.rand(len(drawn), 3) + random.random() + torch.tensor(numpy.random.rand())
        return batch


def epochs(data: TaskData, splits: Sequence[tuple[int, ...]]) -> list[Any]:
    """All batches of two epochs of five steps, whose split changes at each step, of both ranks."""
    found: list[Any] = []
    for rank in range(2):
        batches = BatchSampler(count=data.train_size, global_batch=8, seed=3)
        for step in range(10):
            shares = splits[step % len(splits)]
            then = batches.ahead(range(step + 1, min(10, step + 1 + data.steps_ahead)), shares, rank)
            ids = batches.ids(step, shares, rank)
            if len(ids):
                found.append(data.train_batch(ids, batches.place(step).epoch, then).content)
        found.append(data.test_batch(0, 4, end=7).content)
        found.append(data.test_batch(4, 7, end=7).content)
    return found


@pytest.mark.ranks
def test_batches_are_the_same_with_no_worker_with_one_and_with_three() -> None:
    every = [[(8, 0)], [(7, 1), (7, 1), (2, 6)], [(3, 5), (4, 4)]]
    alone = TaskData.of(Randomly(), seed=3)
    expected = [batch for splits in every for batch in epochs(alone, splits)]
    for workers in (1, 3):
        data = TaskData.of(Randomly(), seed=3, loading=Loading(workers=workers))
        assert (data.pool is not None, data.steps_ahead) == (True, 2)
        try:
            found = [batch for splits in every for batch in epochs(data, splits)]
        finally:
            data.close()
        for mine, its in zip(found, expected, strict=True):
            assert mine.keys() == its.keys()
            for name, value in its.items():
                assert torch.equal(mine[name], value) if torch.is_tensor(value) else mine[name] == value
                assert getattr(mine[name], "dtype", None) == getattr(value, "dtype", None)


def test_a_share_that_shifts_asks_for_what_is_missing_only_and_of_the_same_workers(made: Made) -> None:
    pool = made(ByWhom())
    pids = pool.pids
    pool.take(samples(*range(8)), samples(*range(8, 16)))
    tickets = pool._tickets
    assert [number for number, _ in pool.take(samples(*range(6, 14)))] == list(range(6, 14))
    assert pool._tickets == tickets  # all of them were there, or on their way
    found = pool.take(samples(*range(10, 30)))
    assert {by for _, by in found} <= set(pids)
    assert set(pool._asked) == set(samples(*range(10, 30)))


def test_what_is_needed_now_comes_before_what_was_asked_for_ahead(made: Made, tmp_path: Path) -> None:
    """The only worker is held up by the first of those that were asked for ahead."""
    pool = made(ByWhom(tmp_path / "gate"), count=1)
    ahead = samples(900, *range(100, 160))
    pool.take(samples(1), ahead)
    pool._ask(samples(2, 3), first=True)
    assert [sample.number for request in pool._waiting for sample in request.samples][:3] == [2, 3, 131]
    (tmp_path / "gate").touch()
    assert [number for number, _ in pool.take(samples(2, 3), ahead)] == [2, 3]
    assert [number for number, _ in pool.take(ahead)] == [900, *range(100, 160)]


def test_the_random_numbers_of_the_rank_stay_its_own(made: Made) -> None:
    pool = made(Shaken())
    torch.manual_seed(7), random.seed(7), numpy.random.seed(7)
    expected = torch.rand(()).item(), random.random(), numpy.random.rand()
    torch.manual_seed(7), random.seed(7), numpy.random.seed(7)
    pool.take(samples(3, 4), samples(5, 6))
    assert (torch.rand(()).item(), random.random(), numpy.random.rand()) == expected


def test_an_error_in_a_sample_is_one_line_with_its_place(made: Made) -> None:
    pool = made(Faulty(), project=Path(__file__).parent)
    with pytest.raises(TaskError, match=r"^datasets\.py:\d+: BrokenPipeError: no such\. Mend it, and start again$"):
        pool.take(samples(4, 5, 6))
    assert [number for number, _ in pool.take(samples(14, 15))] == [14, 15]


def test_a_dataset_or_a_sample_that_cant_be_sent_is_told_with_a_remedy(made: Made) -> None:
    with pytest.raises(
        TaskError, match=r"the Dataset can't be sent to workers: TypeError: cannot pickle .* in \[data\]"
    ):
        made(WithLock())
    with pytest.raises(
        TaskError, match=r"sample 3 of train_data can't be sent from a worker: .*workers = 0 in \[data\]"
    ):
        made(Unsendable()).take(samples(3))


def test_a_dataset_of_a_module_that_a_worker_cant_import_is_told(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("made_just_now")
    local = type("Local", (ByWhom,), {"__module__": "made_just_now"})
    module.Local = local  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_just_now", module)
    with pytest.raises(
        TaskError, match=r"can't be made in a worker: ModuleNotFoundError: .*made_just_now.*by its name"
    ):
        made(local())


def test_by_default_such_a_dataset_is_fetched_without_workers() -> None:
    told: list[str] = []
    loading = Loading(workers=None, device=torch.device("cuda"), note=lambda text, _: told.append(text))
    assert (loading.count(16), loading.count(2), loading.count(1)) == (4, 1, 0)
    assert Loading(workers=None).count(16) == 0

    class Holds(Task):
        def train_data(self) -> WithLock:
            return WithLock()

    from motley.trainer.data.fetch import source_of

    assert loading.workers_for({"train": source_of(WithLock(), list, "train_data")}, None) is None
    assert not told or "samples are fetched without workers: the Dataset can't be sent" in told[0]
    with pytest.raises(TaskError, match="can't be sent to workers"):
        TaskData.of(Holds(), seed=0, loading=Loading(workers=1))


def test_tensors_need_no_worker() -> None:
    class Rows(Task):
        def train_data(self) -> torch.Tensor:
            return torch.zeros(6, 2)

    assert TaskData.of(Rows(), seed=0, loading=Loading(workers=3)).pool is None


def test_a_worker_that_is_killed_is_named(made: Made, tmp_path: Path) -> None:
    pool = made(ByWhom(tmp_path / "gate"), count=2)
    pool.take(samples(1), samples(900, 901))
    os.kill(pool.pids[1], signal.SIGKILL)
    with pytest.raises(DataError, match=rf"worker 2 of 2 that .* \(pid {pool.pids[1]}\) was ended by signal 9\. Fewer"):
        pool.take(samples(900, 901))


RANK = """
import sys
from pathlib import Path
from motley.trainer.data.worker import Sample
from motley.trainer.data.worker_pool import WorkerPool
from tests.trainer.data.datasets import ByWhom

pool = WorkerPool({"train": ByWhom(Path(sys.argv[1]))}, count=2, project=None)
pool.take([Sample("train", 1, 0)], [Sample("train", 900, 0)])
print(*pool.pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.ranks
def test_workers_end_with_a_rank_that_is_killed_and_bear_its_tags(tmp_path: Path) -> None:
    """One of them in the middle of a sample that never ends."""
    (tmp_path / "queue.py").write_text("raise ImportError('the user has a file of this name')")
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    env = {**os.environ, "PYTHONPATH": str(HERE), "MOTLEY_DIR": str(tmp_path)}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", str(script), str(tmp_path / "gate")]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as rank:
        assert rank.stdout is not None
        pids = [int(word) for word in rank.stdout.readline().split()]
        handles = [os.pidfd_open(pid) for pid in pids]
        assert all(f"MOTLEY_DIR={tmp_path}".encode() in Path(f"/proc/{pid}/environ").read_bytes() for pid in pids)
        rank.kill()
    import select

    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a worker has outlived its rank by 20 s"
        os.close(handle)
