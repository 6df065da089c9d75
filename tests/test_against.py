"""What a comparison of two checkouts says of what it measured, and how opened files are counted."""

from __future__ import annotations

import pytest

from tests.bench.against import interval, table
from tests.bench.opened_files import parse


@pytest.mark.parametrize(
    ("count", "low", "high", "probability"), [(20, 5, 14, 0.959), (12, 2, 9, 0.961), (6, 0, 5, 0.969), (2, 0, 1, 0.5)]
)
def test_an_interval_of_the_median_by_order(count: int, low: int, high: int, probability: float) -> None:
    values = [float(value) for value in reversed(range(count))]
    *bounds, holds = interval(values)
    assert bounds == [low, high]
    assert holds == pytest.approx(probability, abs=0.001)


def test_a_table_has_the_ratios_of_pairs_not_of_medians() -> None:
    times = ((1.0, 2.0), (4.0, 2.0), (10.0, 5.0))
    pairs = [({"launched": before, "only before": 1.0}, {"launched": after}) for before, after in times]
    (row,) = table(pairs)[2:]
    assert row.startswith("| launched | 4.000 s | 2.000 s | 0.500 (0.500 to 2.000: ")


def test_files_are_counted_by_process_and_by_whence_it_has_them() -> None:
    traces = {
        1: [
            'execve("/bin/python", ["python", "-m", "motley"], 0x1 /* 9 vars */) = 0',
            'openat(AT_FDCWD, "/lib/a.so", O_RDONLY|O_CLOEXEC) = 3',
            'openat(AT_FDCWD, "/lib/a.so", O_RDONLY) = 3',
            'openat(AT_FDCWD, "/lib", O_RDONLY|O_DIRECTORY) = 3',
            'openat(AT_FDCWD, "/lib/missing.so", O_RDONLY) = -1 ENOENT (No such file or directory)',
            'openat(AT_FDCWD, "/proc/self/stat", O_RDONLY) = 3',
            "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 2",
            'openat(AT_FDCWD, "/lib/later.so", O_RDONLY) = 3',
            "clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 4",
            "vfork()                                 = 3",
        ],
        2: ['openat(AT_FDCWD, "/home/log", O_WRONLY|O_CREAT|O_APPEND, 0600) = 5', 'open("/lib/a.so", O_RDONLY) = 5'],
        3: ['execve("/bin/sh", ["sh"], 0x1) = 0', 'openat(AT_FDCWD, "/lib/c.so", O_RDONLY) = 3'],
        4: ['openat(AT_FDCWD, "/lib/thread.so", O_RDONLY) = 6'],
    }
    found = parse(traces)
    assert set(found) == {1, 2, 3}
    assert found[1].own == {"/lib/a.so", "/lib/later.so", "/lib/thread.so"}
    assert found[2].own == {"/home/log", "/lib/a.so"}
    assert found[2].inherited == frozenset({"/lib/a.so"})
    assert found[2].told() == "2, and 0 before it was forked"
    assert found[3].own == {"/lib/c.so"}
    assert found[3].inherited == frozenset()
