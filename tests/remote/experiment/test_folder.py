"""The experiment folder: whatever happens to the console or the files, no line is lost and none is there twice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.remote.errors import RunFailed, UsageError
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.last_loss import LastLosses
from motley.remote.experiment.local_copy import LocalCopy
from tests.remote.experiment.machines import COUNT, HOSTS, MACHINES, assert_whole, copy_of, event, read_on, sample
from tests.support.power_cut import Disk


def test_what_was_kept_is_what_the_hosts_wrote(folder: Path) -> None:
    experiment = Experiment.create(folder, "[cluster]\n")
    read_on(experiment, lines=5)
    experiment.close()
    assert_whole(folder)
    assert (folder / "cluster.toml").read_text() == "[cluster]\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    again = Experiment.open(folder)
    assert {name: again.offsets(name) for name in HOSTS} == {
        name: {file: len(content) for file, content in machine.files.items()} for name, machine in MACHINES.items()
    }
    again.close()


def test_a_crash_between_any_two_writes(folder: Path, tmp_path: Path) -> None:
    """A copy of the folder as it was at each moment, half-written commits included, is gone on with."""
    moments: list[Path] = []

    def keep() -> None:
        moments.append(shutil.copytree(folder, tmp_path / f"moment{len(moments)}"))

    experiment = Experiment.create(folder, "")
    chunks = [(name, chunk) for name, machine in MACHINES.items() for chunk in machine.chunks({}, 4)]
    for number, (name, chunk) in enumerate(chunks):
        experiment.take(name, chunk)
        for file in copy_of(experiment)._files.values():
            file.flush()  # the kernel has it, nothing says so yet
        keep()
        if number % 3 == 1:
            experiment.commit()
            copy_of(experiment)._syncing.join()  # what it writes can't be copied meanwhile
            keep()
            (moments[-1] / ".offsets.json.part").write_text('{"sizes": {"ev')
    experiment.close()
    assert len(moments) > 20
    for moment in moments:
        after = Experiment.open(moment)
        read_on(after)
        after.close()
        assert_whole(moment)


@given(data=st.data())
def test_files_cut_or_gone_are_read_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A full disk, a power cut, an editor: what is missing comes from the hosts again, the rest stays as it is."""
    folder = tmp_path_factory.mktemp("cut") / "night"
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    for path in [folder / "events.jsonl", folder / "offsets.json", *(folder / "logs").iterdir()]:
        cut = data.draw(st.none() | st.integers(0, path.stat().st_size) if path.suffix != ".json" else st.none())
        if cut is not None:
            os.truncate(path, cut)
        elif data.draw(st.booleans()):
            path.unlink()
    after = Experiment.open(folder)
    read_on(after)
    after.close()
    assert_whole(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"{", b"[]", b"null", b"{}", b'{"sizes": {}, "offsets": []}', b"[" * 100_000,
        b'{"sizes": {"events.jsonl": "12"}, "offsets": {}}', b'{"sizes": {"events.jsonl": -1}, "offsets": {}}',
        b'{"sizes": {}, "offsets": {"box0": {"events.jsonl": 1.5}}}', b'{"sizes": {}, "offsets": {"box0": 7}}',
    ],
)  # fmt: skip
def test_damaged_offsets_recover_or_are_named_and_nothing_is_lost(folder: Path, content: bytes) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.close()
    (folder / "offsets.json").write_bytes(content)
    again = Experiment.open(folder)
    assert all(again.offsets(name) for name in HOSTS)  # nothing is read twice
    again.close()
    assert_whole(folder)
    (folder / "offsets.json").write_bytes(content)
    (folder / "synced.json").write_bytes(content)
    if content:
        with pytest.raises(
            UsageError, match=r"night/offsets\.json is damaged \(.*\)\. Move .*night away; .*attach night"
        ):
            Experiment.open(folder)
        assert_whole(folder)
        folder.rename(folder.with_name("away"))
    again = Experiment.open(folder)  # as the message says
    assert again.writable
    read_on(again)
    again.close()
    assert_whole(folder)


def test_a_power_cut_at_any_moment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.experiment.local_copy.SYNC_S", 0.0)
    folder.parent.mkdir()
    with Disk(folder.parent) as disk:
        experiment = Experiment.create(folder, "[cluster]\n")
        for name, machine in MACHINES.items():
            for chunk in machine.chunks({}, 4):
                experiment.take(name, chunk)
                experiment.commit()
                copy_of(experiment)._syncing.join()
        experiment.write_whole("summary.json", b"{}")
        experiment.close()
    states = list(disk.after_each_cut(tmp_path / "cut"))
    assert len(states) > 40
    for state in states:
        summary = state / "night/summary.json"
        assert not summary.exists() or summary.read_bytes() == b"{}"
        after = Experiment.open(state / "night")
        read_on(after)
        after.close()
        assert_whole(state / "night")
    before = (states[-1] / "night/logs/rank_0.log").stat()
    last = Experiment.open(states[-1] / "night")
    assert last.offsets("box0")["rank_0.out"] == before.st_size  # all of it was on the disk
    last.close()


def test_what_a_host_has_cleaned_since_is_not_read_anew_after_a_power_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is cut to what the disk was waited for, not to nothing."""
    experiment = Experiment.create(folder, "")
    read_on_first_half(experiment)
    experiment.close()
    monkeypatch.setattr("motley.remote.experiment.local_copy.SYNC_S", 1e9)
    log, metrics = folder / "logs/rank_0.log", folder / "logs/rank_0_metrics.jsonl"
    sure = log.stat().st_size
    experiment = Experiment.open(folder)
    copy_of(experiment)._sync_due = 1e12
    read_on(experiment)
    experiment.commit()
    newest = metrics.stat().st_size
    experiment._release()  # the console ends with the machine
    os.truncate(log, sure + 5)
    after = Experiment.open(folder)
    assert after.offsets("box0")["rank_0.out"] == sure
    assert after.offsets("box0")["rank_0.jsonl"] == newest  # which was not hit
    assert log.stat().st_size == sure
    read_on(after)
    after.close()
    assert_whole(folder)


def read_on_first_half(experiment: Experiment) -> None:
    for name, machine in MACHINES.items():
        seen = set[str]()
        for chunk in machine.chunks({}, COUNT // 2):
            if chunk.file not in seen:
                experiment.take(name, chunk)
            seen.add(chunk.file)


def test_one_console_writes_the_others_read(folder: Path) -> None:
    first = Experiment.create(folder, "")
    second = Experiment.open(folder)
    assert (first.writable, second.writable) == (True, False)
    read_on(first, lines=3)
    taken = [r for name, m in MACHINES.items() for c in m.chunks(second.offsets(name)) for r in second.take(name, c)]
    assert len(taken) == 2 * 3 * COUNT  # it sees everything
    second.note(event("of the second"))
    second.write_whole("summary.json", b"{}")
    second.commit()
    second.close()
    first.close()
    assert_whole(folder)
    assert not (folder / "summary.json").exists()
    third = Experiment.open(folder)
    assert third.writable
    third.close()


def test_a_name_that_exists_is_refused(folder: Path) -> None:
    Experiment.create(folder, "mine").close()
    with pytest.raises(UsageError, match="night is there already: choose another name with --name"):
        Experiment.create(folder, "other")
    assert (folder / "cluster.toml").read_text() == "mine"


def test_files_that_are_not_ours_are_left_alone(folder: Path) -> None:
    Experiment.create(folder, "").close()
    notes = folder / "logs" / "my notes.txt"
    notes.write_text("mine")
    experiment = Experiment.open(folder)
    list(experiment.replay())
    experiment.close()
    assert notes.read_text() == "mine"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0: (8, 1.0), 1: (24, 3.0)}, 2.5),
        ({0: (8, 1.0), 1: (0, None)}, 1.0),
        ({0: (8, 1.0)}, None),  # the other's line is not here
        ({0: (8, None), 1: (24, 3.0)}, None),  # it has diverged
        ({0: (0, None), 1: (0, None)}, None),
    ],
)
def test_the_loss_of_the_last_step(losses: dict[int, tuple[int, float | None]], expected: float | None) -> None:
    heard = LastLosses()
    for member, (batch, loss) in losses.items():
        for number in (*range(2000), 1999):  # one was undone, and made again
            heard.hear(sample(number, member=member))
        heard.hear(sample(2000, member=member, batch=batch, loss=loss))
        heard.hear(sample(2001, member=member))
    assert heard.of(2001, 2) == expected


@pytest.mark.parametrize("act", [Experiment.commit, Experiment.close])
def test_a_full_disk_is_told_and_can_be_mended(folder: Path, act: Callable[[Experiment], None]) -> None:
    experiment = Experiment.create(folder, "")
    log = folder / "logs/rank_0.log"
    log.symlink_to("/dev/full")
    read_on(experiment)
    with pytest.raises(RunFailed, match=r"night can't be written: No space left on device\. The run itself goes on"):
        act(experiment)
    experiment._release()
    log.unlink()
    again = Experiment.open(folder)
    read_on(again)
    again.close()
    assert_whole(folder)


@pytest.mark.parametrize("there", [".lock", "events.jsonl", "offsets.json", "logs"])
def test_what_can_t_be_kept_can_be_read_on_all_the_same_and_a_new_one_can_t_begin(
    folder: Path, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Experiment.create(folder, "").close()
    at = folder / there
    shutil.rmtree(at) if at.is_dir() else at.unlink()
    at.touch() if there == "logs" else at.mkdir()
    refused = Experiment.open(folder)
    assert not refused.writable
    assert re.match(rf"\S*night/{there} can't be written: (Is a directory|File exists)", refused.refused)
    assert "`motley attach night` then reads on" in refused.refused
    read_on(refused)
    assert refused.offsets("box1")  # it is shown
    assert not refused.take_over()
    refused.close()

    def full(_folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalCopy, "open", full)
    with pytest.raises(UsageError, match="new can't be written: No space left on device"):
        Experiment.create(folder.with_name("new"), "")


def test_offsets_are_readable_by_other_programs(folder: Path) -> None:
    experiment = Experiment.create(folder, "")
    read_on(experiment)
    experiment.commit()
    table = json.loads((folder / "offsets.json").read_bytes())
    assert set(table) == {"sizes", "offsets"}
    for name, size in table["sizes"].items():
        assert (folder / name).stat().st_size == size
    experiment.close()
