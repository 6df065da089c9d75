"""A disk without room: the run goes on without the files, says so once, and writes them when there is room again."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.host import unwritten
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import follow, lead_of
from motley.trainer.host.paths import read_json, write_json
from motley.trainer.host.run_members import admit, keep, roll_of
from motley.trainer.supervisor.output_files import OutputFile
from tests.support.full_disk import Disk, read_only, small_disk
from tests.trainer.coordinating import coordinating, spec, summary
from tests.trainer.ranks import BOUND_S, with_torch

GIVEN = spec(2)
NEW = Member(member=0, host="box2", local_rank=0, device="cpu")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", size="256k", files=30) as disk:
        yield disk


def test_a_roll_that_can_not_be_written_holds_in_the_process_and_is_told_once(disk: Disk) -> None:
    first = admit(GIVEN, Roll(), "box2", [NEW], term=FIRST)
    second = admit(GIVEN, first, "box3", [NEW], term=FIRST)
    said: list[str] = []
    disk.fill()
    assert keep(disk.folder, first, said.append)
    assert roll_of(disk.folder) == first
    assert not keep(disk.folder, first, said.append)
    assert keep(disk.folder, second, said.append)
    assert len(said) == 1
    assert "roll.json can't be written (No space left on device): the run goes on without it" in said[0]
    disk.make_room()
    third = admit(GIVEN, second, "box4", [NEW], term=FIRST)
    assert keep(disk.folder, third, said.append)
    assert Roll.from_table(read_json(disk.folder / "roll.json")) == roll_of(disk.folder) == third


def test_who_asked_for_a_change_hears_that_it_could_not_be_kept(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        keep(disk.folder, admit(GIVEN, Roll(), "box2", [NEW], term=FIRST))
    assert roll_of(disk.folder) == Roll()


def test_a_lead_that_can_not_be_written_holds_until_a_newer_one_is_on_the_disk(disk: Disk) -> None:
    lead = lead_of(disk.folder, GIVEN)
    raised = dataclasses.replace(lead, term=lead.term.restarted())
    named = dataclasses.replace(lead, term=lead.term.next_named(), leader="box1")
    disk.fill()
    assert follow(disk.folder, GIVEN, raised, lambda _: None)
    assert lead_of(disk.folder, GIVEN) == raised
    assert "lead.json" in unwritten.handed_on()[unwritten.NAME]
    disk.make_room()
    (disk.folder / "lead.json").write_text(named.to_json())  # by another process
    assert lead_of(disk.folder, GIVEN) == named


def test_output_without_a_file_keeps_its_tail_and_gets_one_when_there_is_room(disk: Disk) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    disk.fill()
    output = OutputFile(disk.folder, "rank_0", reader)
    os.write(writer, b"lost\n")
    assert output.pump()
    assert "rank_0.out can't be made (No space left on device)" in output.trouble
    disk.make_room()
    os.write(writer, b"kept\n")
    assert output.pump()
    assert output.trouble == ""
    assert output.tail() == "lost\nkept"
    os.close(writer)
    assert not output.pump()
    output.close()
    assert (disk.folder / "rank_0.out").read_bytes() == b"kept\n"


def test_output_that_can_not_go_on_in_a_new_file_does_not_end_who_reads_it(disk: Disk) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    output = OutputFile(disk.folder, "rank_0", reader, cap=10)
    disk.fill()
    for _ in range(3):
        os.write(writer, b"a line of more than ten\n")
        assert output.pump()
    os.close(writer)
    assert not output.pump()
    output.close()


def test_on_a_read_only_disk_a_process_goes_on_without_what_it_can_not_write(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is started anew: it has nothing open from before."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    said: list[str] = []
    with read_only(tmp_path):
        journal = Journal(tmp_path, host="box1", source="coordinator")
        journal.write("note", "lost")
        assert keep(tmp_path, admit(GIVEN, Roll(), "box2", [NEW], term=FIRST), said.append)
        output = OutputFile(tmp_path, "rank_0", reader, cap=10)
        for _ in range(8):
            os.write(writer, b"a line of more than ten\n")
            assert output.pump()
        assert "rank_0.out can't be made (Read-only file system)" in output.trouble
    journal.write("note", "kept")
    journal.close()
    assert "event not written" in capfd.readouterr().err
    assert '"kept"' in (tmp_path / "events.jsonl").read_text()
    assert len(roll_of(tmp_path).added) == 1
    assert said == [
        f"roll.json can't be written (Read-only file system): the run goes on without it. The disk of {tmp_path} is "
        "read-only: dmesg there may say what is wrong with it"
    ]
    os.close(writer)
    assert not output.pump()
    output.close()


def test_files_of_output_that_became_read_only_are_not_emptied_and_nobody_ends_of_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    output = OutputFile(tmp_path, "rank_0", reader, cap=10)

    def print_lines(count: int) -> None:
        for _ in range(count):
            os.write(writer, b"a line of more than ten\n")
            assert output.pump()

    print_lines(12)
    with read_only(tmp_path):
        sizes = {path.name: path.stat().st_size for path in tmp_path.glob("rank_0.*")}
        print_lines(12)
        assert {path.name: path.stat().st_size for path in tmp_path.glob("rank_0.*")}.keys() == sizes.keys()
    print_lines(2)
    assert len(list(tmp_path.glob("rank_0.*"))) > len(sizes)
    os.close(writer)
    assert not output.pump()
    output.close()


def member(text: str, folder: Path, answer: Connection) -> None:
    """The process of a rank, whose disk gets full before it hears of its group."""
    from motley.trainer.rank.task_rank import TaskRank

    given = Spec.from_json(text)
    rank = TaskRank(given, given.members[0], folder, anew=False)
    Disk(folder).fill()
    answer.send(int(rank.main()))
    os._exit(0)


@pytest.mark.ranks
async def test_a_rank_that_can_not_keep_who_takes_part_trains_on(disk: Disk, tmp_path: Path) -> None:
    given = spec(1, task="mlp/digits", steps=2, global_batch=32, checkpoint_every=0, eval_every=0)
    write_json(tmp_path / "roll.json", Roll(edition=1).to_table())  # somebody has come and gone
    ours, theirs = with_torch().Pipe()
    process = with_torch().Process(target=member, args=(given.to_json(), disk.folder, theirs), daemon=True)
    async with coordinating(given, tmp_path):
        process.start()
        assert await asyncio.to_thread(ours.poll, BOUND_S)
    process.join(BOUND_S)
    assert ours.recv() == 0
    table = summary(tmp_path)
    assert (table["state"], table["steps"]) == ("finished", 2)
    assert not (disk.folder / "roll.json").exists()
