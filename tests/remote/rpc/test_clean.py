"""What hosts keep, and removing what is old: nothing that is in use ever goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.clean import Kept, Removed, old, remove, survey
from motley.remote.rpc.verbs import Verbs
from motley.trainer.bootstrap.code_trees import STAMP
from motley.trainer.contract.spec import DataOptions
from motley.trainer.host.paths import project_folder
from motley.trainer.tasks.data_location import Source, find, keep_open
from motley.trainer.verbs import clean
from tests.remote.stage import FOREVER, Seen, Stage, put

WEEK_S = 7 * 86_400.0


def kept(kind: str, name: str, *, used: str = "", days: float = 10.0) -> Kept:
    return Kept(kind=kind, name=name, bytes=100, age_s=days * 86_400, used=used)


def test_old_is_what_nobody_uses_or_has_changed_for_so_long() -> None:
    items = [kept("run", "night"), kept("run", "day", days=6.9), kept("code", "8f5a", used="it is the one in use now")]
    assert old(items, older_s=WEEK_S) == items[:1]
    assert old(items, older_s=0.0) == items[:2]


async def test_a_run_that_is_over_goes_and_one_that_is_on_stays(stage: Stage) -> None:
    for run, steps in (("over", 5), ("on", FOREVER)):
        session = stage.session(run, seen := Seen(), stage.cluster(steps=steps))
        await session.launch()
        await (session.wait() if run == "over" else seen.further(5))
        await session.close()
    async with Hosts(stage.cluster()) as hosts:
        verbs = Verbs(hosts, stage.tree)
        found = (await survey(verbs, ["box1"]))["box1"]
        assert isinstance(found, list)
        by_name = {item.name: item for item in found}
        assert by_name["on"].used == "it is running"
        assert by_name["over"].used == ""
        assert by_name["over"].bytes > 4096
        (code,) = (item for item in found if item.kind == "code")
        assert code.used == "it is the one in use now"
        assert await remove(verbs, "box1", [by_name["on"]]) == Removed(0, ("run on: it is running",))
        assert await remove(verbs, "box1", old(found, older_s=0.0)) == Removed(by_name["over"].bytes, ())
        assert not stage.run_folder("over", "box1").parent.exists()
        assert stage.run_folder("over", "box0").exists()
        assert stage.run_folder("on", "box1").exists()
        assert await remove(verbs, "box1", [by_name["over"]]) == Removed(0, ())  # gone already
    session = stage.session("on", Seen())
    await session.attach()
    assert (await session.stop("enough")).unanswered == ()
    await session.close()


@pytest.fixture
def trees(home: Path) -> Path:
    """Two old trees of code, one of data."""
    for name in ("code/aa", "code/bb", "data/cc"):
        folder = home / ".motley" / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 10_000)
        (folder / "file").chmod(0o400)
        os.utime(folder, (0, 0))
    return home / ".motley"


def test_a_tree_in_which_a_process_works_stays(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trees / "code/bb")
    used = {item.name: item.used for item in clean.items("box1")}
    assert used == {"aa": "", "bb": "a process uses it", "cc": ""}
    answer = clean.remove("box1", [("code", "aa"), ("code", "bb"), ("data", "cc"), ("code", "../../x")])
    assert answer["kept"] == [["code", "bb", "a process uses it"]]
    assert answer["bytes"] >= 20_000
    assert [path.name for path in (trees / "code").iterdir()] == ["bb"]
    assert list((trees / "data").iterdir()) == []


def test_data_that_a_process_reads_stays(trees: Path) -> None:
    """As `motley profile` does: its processes belong to no run, and work in the folder of the code."""
    (trees / "data/dd").mkdir()
    source = Source(name="cc", archives=(), missing=lambda _: (), some=lambda _: True)
    asked = DataOptions(path=str(trees / "data/cc/files"))
    (trees / "data/cc/files").mkdir()
    assert find(source, asked, lambda *_: None) == trees / "data/cc/files"
    assert clean.remove("box1", [("data", "cc"), ("data", "dd")])["kept"] == [["data", "cc", "a process uses it"]]
    assert [path.name for path in (trees / "data").iterdir()] == ["cc"]


def test_the_files_of_a_task_of_the_user_s_own_stay_while_they_are_in_use(trees: Path) -> None:
    """As `motley profile` has them open, in no run."""
    keep_open(project_folder("bb"))
    assert clean.remove("box1", [("code", "aa"), ("code", "bb")])["kept"] == [["code", "bb", "a process uses it"]]
    assert [path.name for path in (trees / "code").iterdir()] == ["bb"]


def test_a_link_and_what_it_leads_to_are_left_alone(trees: Path, tmp_path: Path) -> None:
    """Data, or a run, that was moved to a larger disk."""
    disk = tmp_path / "disk"
    (trees / "data/cc").rename(disk)
    (disk / "deep").mkdir(mode=0o755)
    (trees / "data/cc").symlink_to(disk)
    (trees / "runs/night").mkdir(parents=True)
    (trees / "runs/night/box1").symlink_to(disk)
    (trees / "runs/far").symlink_to(disk)
    (disk / "box1").mkdir(mode=0o755)
    used = {item.name: item.used for item in clean.items("box1")}
    said = f"it is a link to {disk}: remove both by hand"
    assert used == {"aa": "", "bb": "", "cc": said, "night": said, "far": said}
    answer = clean.remove("box1", [("data", "cc"), ("run", "night"), ("run", "far"), ("code", "aa")])
    assert answer["kept"] == [["data", "cc", said], ["run", "night", said], ["run", "far", said]]
    assert sorted(path.name for path in disk.iterdir()) == ["box1", "deep", "file"]
    assert {path.stat().st_mode & 0o777 for path in (disk / "deep", disk / "box1")} == {0o755}
    assert (trees / "data/cc").is_symlink()


def test_links_in_what_is_removed_are_not_followed(trees: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "disk/file").touch()
    (trees / "data/cc/more").symlink_to(tmp_path / "disk")
    assert clean.remove("box1", [("data", "cc")])["kept"] == []
    assert (tmp_path / "disk/file").exists()
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o755
    assert not (trees / "data/cc").exists()


def test_age_is_that_of_the_last_change(trees: Path) -> None:
    ages = {item.name: item.age_s for item in clean.items("box1", now=1000.0)}
    assert ages == {"aa": 1000.0, "bb": 1000.0, "cc": 1000.0}
    assert trees.exists()


async def test_it_works_on_a_host_whose_code_a_power_cut_has_damaged(stage: Stage) -> None:
    async with Hosts(stage.cluster()) as hosts:
        assert isinstance((await survey(Verbs(hosts, stage.tree), ["box1"]))["box1"], list)
        code = stage.run_folder("none", "box1").parents[3] / stage.tree.folder
        for name in ("__main__.py", "verbs/clean.py"):
            put(code / "motley/trainer" / name, "")
        put(code / STAMP, "the boot before\n")
        found = (await survey(Verbs(hosts, stage.tree), ["box1"]))["box1"]
        assert isinstance(found, list)
        assert [(item.kind, item.used) for item in found] == [("code", "it is the one in use now")]
