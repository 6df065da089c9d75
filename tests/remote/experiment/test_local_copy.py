"""The copy of the logs that a console keeps: how large it grows, a full disk, and what is printed of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.remote.errors import RunFailed
from motley.remote.experiment.folder import Experiment
from motley.remote.feed import LogLine
from motley.remote.session.run_log import LogRow, rows_of
from motley.trainer.contract.wire import Chunk
from tests.support.power_cut import Disk

CAP = 100  # bytes of a part of a log
COUNT = 80


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.experiment.local_copy.LOG_BYTES", CAP)
    monkeypatch.setattr("motley.remote.experiment.local_copy.SYNC_S", 0.0)


def line(number: int) -> str:
    return f"line {number:04}\n"


def read_on(experiment: Experiment, count: int = COUNT) -> Iterator[int]:
    """What rank 0 has printed since, line by line."""
    size = len(line(0))
    for number in range(experiment.offsets("box0").get("rank_0.out", 0) // size, count):
        chunk = Chunk(file="rank_0.out", start=number * size, end=(number + 1) * size, text=line(number))
        assert experiment.take("box0", chunk)
        yield number


def numbers(experiment: Experiment) -> list[int]:
    lines = [record for record in experiment.replay() if isinstance(record, LogLine)]
    assert {(record.host, record.member) for record in lines} == {("box0", 0)}
    return [int(record.text.split()[1]) for record in lines]


def assert_first_and_newest(kept: list[int], count: int = COUNT) -> None:
    """One gap at most, and on both sides of it as much as a part of a log holds."""
    gaps = [n for n, after in itertools.pairwise(kept) if after != n + 1]
    assert len(gaps) == 1, kept
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert gaps[0] >= CAP // len(line(0)) - 1
    assert count - kept[kept.index(gaps[0]) + 1] >= CAP // len(line(0))


@pytest.mark.usefixtures("_small")
def test_of_what_ranks_print_the_first_part_stays_and_the_newest(tmp_path: Path) -> None:
    experiment = Experiment.create(tmp_path / "night", "")
    for number in read_on(experiment):
        if number % 3 == 0:
            experiment.commit()
    experiment.close()
    there = sorted((tmp_path / "night" / "logs").iterdir())
    assert [path.name for path in there] == ["rank_0.6.log", "rank_0.7.log", "rank_0.log"]
    assert all(path.stat().st_size <= CAP + len(line(0)) for path in there)
    again = Experiment.open(tmp_path / "night")
    assert again.offsets("box0") == {"rank_0.out": COUNT * len(line(0))}
    assert_first_and_newest(numbers(again))
    assert again.members() == {0}
    for _ in read_on(again, COUNT + 30):
        pass
    again.close()
    assert_first_and_newest(numbers(Experiment(tmp_path / "night")), COUNT + 30)


@pytest.mark.usefixtures("_small")
def test_each_part_of_a_log_has_the_times_of_its_lines_also_after_a_restart_of_the_console(tmp_path: Path) -> None:
    size, folder = len(line(0)), tmp_path / "night"
    for begin, end in ((0, 31), (31, COUNT)):
        experiment = Experiment.open(folder)
        for number in range(begin, end):
            times = [] if number == 3 else [[0, 100.0 + number // 4]]  # the host did not know it of one line
            chunk = Chunk(
                file="rank_0.out", start=number * size, end=(number + 1) * size, text=line(number), times=times
            )
            experiment.take("box0", chunk)
        experiment.close()
    there = sorted(path.name for path in (folder / "logs").iterdir())
    assert there == [f"rank_0{part}.{kind}" for part in (".6", ".7", "") for kind in ("log", "times")]
    found = [record for record in Experiment(folder).replay() if isinstance(record, LogLine)]
    known = {int(record.text.split()[1]): record.time for record in found if record.exact}
    assert known == {n: 100.0 + n // 4 for n in numbers(Experiment(folder)) if n != 3}
    assert len((folder / "logs" / "rank_0.6.times").read_text().splitlines()) <= 4  # one where the time changes


@pytest.mark.usefixtures("_small")
def test_a_console_that_is_killed_or_a_power_cut_harms_no_log_that_goes_on_in_another_file(tmp_path: Path) -> None:
    top = tmp_path / "experiments"
    top.mkdir()
    with Disk(top) as disk:
        experiment = Experiment.create(top / "night", "")
        for number in read_on(experiment):
            if number % 7 == 0:
                experiment.commit()
                assert experiment._copy is not None
                experiment._copy._syncing.join()
        experiment.close()
    states = list(disk.after_each_cut(tmp_path / "cut"))
    assert len(states) > 40
    for state in states:
        after = Experiment.open(state / "night")
        for _ in read_on(after):
            pass
        after.close()
        assert_first_and_newest(numbers(Experiment(state / "night")))
        assert len(list((state / "night" / "logs").iterdir())) == 3
    last = Experiment.open(states[-1] / "night")
    assert last.offsets("box0") == {"rank_0.out": COUNT * len(line(0))}  # nothing is read again
    last.close()


@pytest.mark.usefixtures("_small")
def test_a_part_of_a_log_that_somebody_removed_is_read_again_with_the_others(tmp_path: Path) -> None:
    for name in ("rank_0.log", "rank_0.6.log", "rank_0.7.log"):
        experiment = Experiment.open(tmp_path / "night")
        for _ in read_on(experiment):
            pass
        experiment.close()
        (tmp_path / "night" / "logs" / name).unlink()
        again = Experiment.open(tmp_path / "night")
        assert again.offsets("box0") == {}
        for _ in read_on(again):
            pass
        again.close()
        assert_first_and_newest(numbers(Experiment(tmp_path / "night")))


def test_a_full_disk_is_said_once_and_what_comes_is_still_told(tmp_path: Path) -> None:
    experiment = Experiment.create(tmp_path / "night", "")
    coming = read_on(experiment, 3000)  # more than a buffer holds
    next(coming)
    experiment.commit()
    kept = experiment.offsets("box0")
    (tmp_path / "night" / "logs" / "rank_1.log").symlink_to("/dev/full")
    assert experiment.take("box1", Chunk(file="rank_1.out", start=0, end=3, text="hi\n"))
    with pytest.raises(RunFailed, match="No space left on device"):
        experiment.commit()
    for _ in coming:
        experiment.commit()
    assert not experiment.take_over()
    experiment.close()
    (tmp_path / "night" / "logs" / "rank_1.log").unlink()
    again = Experiment.open(tmp_path / "night")
    assert again.offsets("box0") == kept  # read on from there
    assert numbers(again) == [0]
    again.close()


def test_logs_of_a_folder_from_elsewhere_steer_no_terminal(tmp_path: Path) -> None:
    Experiment.create(tmp_path / "night", "").close()
    (tmp_path / "night" / "logs" / "rank_0.log").write_bytes(b"50%\r100% \x1b]52;c;aGk=\x07\x1b[2Jdone\n")
    found = rows_of(Experiment(tmp_path / "night").replay())
    assert found == [LogRow(time=None, host="", member=0, text="100% done")]
    assert found[0].text == "100% done"
