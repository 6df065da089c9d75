"""Which numbers of threads are tried, and which is kept, on figures that are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.profiles import cores
from motley.profiles.thread_counts import candidates, fastest, rates, words


@pytest.mark.parametrize(
    ("cpus", "physical", "ranks", "tried"),
    [
        (1.0, 1, 1, (1,)),
        (0.4, 2, 1, (1,)),  # a quota that can be seen leaves nothing to try
        (2.0, 2, 1, (1, 2)),
        (2.0, 1, 1, (1, 2)),  # one core of two hyper-threads
        (16.0, 8, 1, (1, 4, 8, 16)),
        (8.0, 8, 1, (1, 4, 8)),
        (3.5, 8, 1, (1, 3)),  # of eight cores three and a half are granted
        (16.0, 8, 2, (1, 2, 4, 8)),  # two ranks share them
        (4.0, 4, 8, (1,)),
        (64.0, 64, 1, (1, 6, 32, 64)),  # nothing between 1 and 32 would be a wide gap
    ],
)
def test_one_half_the_cores_and_all_that_is_granted_are_tried(
    cpus: float, physical: int, ranks: int, tried: tuple[int, ...]
) -> None:
    assert candidates(cpus, cores=physical, ranks=ranks) == tried


@pytest.mark.parametrize(
    ("ms", "kept"),
    [
        ({1: 38.0, 2: 110.0}, 1),
        ({1: 100.0, 4: 30.0, 8: 25.0, 16: 60.0}, 8),
        ({1: 100.0, 8: 25.5, 16: 25.0}, 8),  # about as fast, with fewer
        ({4: 10.0}, 4),
    ],
)
def test_the_fastest_is_kept_and_of_those_that_are_alike_the_fewest(ms: dict[int, float], kept: int) -> None:
    assert fastest(ms) == kept


def test_without_a_figure_there_is_no_choice() -> None:
    with pytest.raises(ValueError, match="no number of threads was measured"):
        fastest({})


def test_it_is_told_with_its_figures() -> None:
    found = rates({2: 220.0, 1: 76.2}, 64)
    assert list(found) == [1, 2]
    assert words("box2", found, 1) == "box2 computes with 1 thread: 840 samples/s, with 2: 291"
    assert words("box2:1", {1: 10.0, 8: 1234.5}, 8) == "box2:1 computes with 8 threads: 1,234 samples/s, with 1: 10"


def test_hyper_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_cpus", lambda: {0, 1, 2, 3})
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    assert cores.physical_cores(tmp_path) == 2
    assert cores.physical_cores(tmp_path / "nowhere") == 4  # where the kernel does not tell
