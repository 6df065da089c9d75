"""cluster.toml edited while a run is on: what the console says of it, and a host that is brought in by key."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from motley.console.commands.plain import PlainRun
from motley.console.control.cluster_watch import ClusterWatch, Look
from motley.console.state.own_command import own_commands
from motley.console.state.store import Store
from motley.console.tui.app import MotleyApp
from motley.console.tui.screens.confirm import Confirm
from motley.console.view.rank_table import table
from motley.console.view.styled_line import text
from motley.remote.errors import CheckFailed, Finding
from tests.console import scripted
from tests.console.commands.test_plain import printer, said
from tests.console.commands.test_plain import until as until_plain
from tests.console.screen import SIZE, make, running, screen_text, until
from tests.console.scripted import HOSTS, START, event, layout


def write(path: Path, *hosts: str, further: str = "") -> None:
    """Another time stamp than before, however coarse the file system's clock is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("".join(f'[[hosts]]\nname = "{host}"\n' for host in hosts) + further)
    os.utime(path, ns=(before + 1, before + 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "cluster.toml"
    write(made, *HOSTS)
    return made


def test_only_a_file_that_has_changed_says_something(path: Path) -> None:
    file = ClusterWatch(path, left_out=["box2"])
    assert file.look() is None
    write(path, *HOSTS, "box5")
    assert file.look() == Look(hosts=("desktop", "laptop", "box1", "box5"))
    assert file.look() is None
    assert ClusterWatch(path, unseen=True).look() == Look(hosts=(*HOSTS, "box5"))


def test_a_bad_file_is_told_with_its_problem_and_a_missing_one_is_waited_for(path: Path) -> None:
    file = ClusterWatch(path)
    write(path, *HOSTS, further="[run]\nepoch = 3\n")
    look = file.look()
    assert look is not None
    assert look.hosts == ()
    assert "epoch" in look.problems[0]
    path.unlink()
    assert file.look() is None
    write(path, *HOSTS)
    assert file.look() == Look(hosts=HOSTS)


def see(app: MotleyApp, path: Path, *hosts: str, further: str = "") -> None:
    """Edit the file, and let the timer's time come."""
    write(path, *hosts, further=further)
    app.life.look()


async def test_a_new_host_is_offered_and_j_brings_it_in_after_a_question(path: Path) -> None:
    app, sessions = make(file=ClusterWatch(path))
    async with app.run_test(size=(120, 30)) as pilot:
        await running(app, pilot)
        await pilot.press("j")
        await until(app, pilot, lambda: "cluster.toml has no host that is new" in screen_text(app))
        see(app, path, *HOSTS, "box5")
        await until(app, pilot, lambda: "+ box5 is new in cluster.toml: j brings it in" in screen_text(app))
        await pilot.press("j")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        assert "Bring box5 into the run?" in screen_text(app)
        await pilot.press("enter")  # No
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
        assert sessions[0].calls == ["launch"]
        await pilot.press("j")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: "join box5" in sessions[0].calls)
        await until(app, pilot, lambda: "joining" in screen_text(app))
        shown = screen_text(app)
        assert "+ box5 is new" not in shown
        assert "4 of 5 ranks on 5 hosts" in shown


async def test_why_a_host_was_not_brought_in_is_shown_until_it_works(path: Path) -> None:
    app, sessions = make(file=ClusterWatch(path))
    async with app.run_test(size=(120, 30)) as pilot:
        await running(app, pilot)
        see(app, path, *HOSTS, "box5")
        finding = Finding("box5", "torch", "error", "python3 has no torch", "Install it")
        sessions[0].refuses = CheckFailed([finding])
        await pilot.press("j")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: "✖ box5: python3 has no torch" in screen_text(app))
        assert "● running" in screen_text(app)
        sessions[0].refuses = None
        await pilot.press("j")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: not app.life.snapshot().offered)
        assert app.life.snapshot().problems == ()


async def test_a_bad_cluster_toml_is_a_warning_and_nothing_else(path: Path) -> None:
    app, sessions = make(file=ClusterWatch(path))
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        see(app, path, *HOSTS, "box5", "box5")
        entry = app.life.store.log()[-1]
        assert entry.level == "warning"
        assert "cluster.toml can't be used as it is now" in entry.text
        assert 'box5" is the host on line' in entry.text
        assert sessions[0].calls == ["launch"]
        assert (app.life.snapshot().offered, app.life.snapshot().problems) == ((), ())


async def test_plain_lines_say_the_command_to_paste(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.console.commands.plain.LOOK_S", 0.0)
    plan, sessions = scripted.plan(hold=True, steps=30, file=ClusterWatch(path))
    shown, lines, _ = printer()
    run = PlainRun(replace(plan, paste=own_commands(path)), shown)
    following = asyncio.ensure_future(run.follow())
    await until_plain(lambda: bool(sessions) and sessions[0].played.is_set())
    write(path, *HOSTS, "box5")
    await until_plain(lambda: bool(said(lines, "new in cluster.toml")))
    (line,) = said(lines, "new in cluster.toml")
    assert line.endswith(f"box5 is new in cluster.toml: motley join home-1 box5 -c {path} brings it in")
    write(path, *HOSTS, "box5", further="[run]\nepoch = 3\n")
    await until_plain(lambda: bool(said(lines, "warning: cluster.toml can't be used")))
    run.interrupt()
    await asyncio.wait_for(following, 5)


def test_a_host_that_was_taken_out_is_shown_so_and_one_that_comes_is_on_its_way() -> None:
    store = Store()
    store.apply(layout(), START)
    members = [{"member": i, "host": h, "device": "cpu"} for i, h in enumerate(HOSTS)]
    store.apply(event("group", "", generation=0, members=members), START)
    store.apply(event("lost", "", member=3, host="box2", cause="dropped", step=5), START)
    store.apply(event("group", "", generation=1, step=5, members=members[:3]), START)
    rows = {row.split()[1]: row for row in map(text, table(store.snapshot(), width=100, now=START)[1:])}
    assert "taken out" in rows["box2"]
    assert store.snapshot().regroups[0].lost == ("box2",)
