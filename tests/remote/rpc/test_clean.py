"""What hosts keep, and removing what is old: nothing that is in use ever goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remote.clean import Kept, Removed, old, remove, survey
from remote.hosts import Hosts
from remote.verbs import Verbs
from tests.remote.stage import FOREVER, Seen, Stage
from trainer import clean

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


def test_age_is_that_of_the_last_change(trees: Path) -> None:
    ages = {item.name: item.age_s for item in clean.items("box1", now=1000.0)}
    assert ages == {"aa": 1000.0, "bb": 1000.0, "cc": 1000.0}
    assert trees.exists()
