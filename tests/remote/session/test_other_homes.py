"""A host that comes back on other machines, as a node of a requeued job does: what each home has is read once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.remote.experiment.folder import Experiment
from motley.remote.feed import FeedRecord, LogLine
from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.follow_host import HostFollower
from motley.remote.ssh.connection import SSHConnection
from motley.trainer.contract.wire import Event, encode
from motley.trainer.host.paths import write_json
from tests.remote.stage import Stage


@pytest.fixture(autouse=True)
def _moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of the stage are reached as ever, and may have another home the next time, as nodes of Slurm's."""
    monkeypatch.setattr(SSHConnection, "moves", True)


class Homes:
    """What machines have of the run in homes of their own, of which the host has one at a time."""

    def __init__(self, stage: Stage, hosts: Hosts) -> None:
        self._verbs = Verbs(hosts, stage.tree)
        self.experiment = stage.experiment("night")
        self.folder = stage.run_folder("night", "box0")
        self.folder.parent.mkdir(parents=True)

    def write(self, machine: str, *texts: str) -> None:
        """Further lines of its events and of what a rank prints."""
        home = self.folder.parent / machine
        home.mkdir(exist_ok=True)
        write_json(home / "state.json", {"state": "stopped"})
        for text in texts:
            event = Event(time=1.0, host="box0", source="supervisor", kind="note", text=text)
            with (home / "events.jsonl").open("ab") as events, (home / "rank_0.out").open("ab") as out:
                events.write(encode(event))
                out.write(f"{text}\n".encode())

    async def read(self, machine: str, experiment: Experiment) -> list[str]:
        """What a console is shown whose connection leads to that machine: events, then lines."""
        self.folder.unlink(missing_ok=True)
        self.folder.symlink_to(self.folder.parent / machine)
        shown: list[FeedRecord] = []
        follower = HostFollower("box0", "night", verbs=self._verbs, experiment=experiment, emit=shown.append)
        assert await asyncio.wait_for(follower.run(), 60) == "stopped"
        experiment.commit()
        return [record.text for record in shown if isinstance(record, (Event, LogLine))]


@pytest.fixture
async def homes(stage: Stage) -> AsyncIterator[Homes]:
    async with Hosts(stage.cluster()) as hosts:
        await hosts.get("box0")
        yield Homes(stage, hosts)


def kept(folder: Path) -> tuple[list[str], list[str]]:
    experiment = Experiment.open(folder)
    records = list(experiment.replay())
    experiment.close()
    return (
        [record.text for record in records if isinstance(record, Event)],
        [record.text for record in records if isinstance(record, LogLine)],
    )


async def test_a_machine_that_it_comes_back_to_is_read_on_where_it_was_left(homes: Homes) -> None:
    """The second one has more than the first; back there, a little has come that nobody has read."""
    experiment = Experiment.create(homes.experiment, "")
    homes.write("fast1", "step 1", "step 2")
    assert await homes.read("fast1", experiment) == ["step 1", "step 2"] * 2
    homes.write("fast2", "step 3", "step 4", "step 5")
    assert await homes.read("fast2", experiment) == ["step 3", "step 4", "step 5"] * 2

    homes.write("fast1", "step 3 once more")

    assert await homes.read("fast1", experiment) == ["step 3 once more"] * 2
    experiment.close()
    homes.write("fast2", "step 6")
    another = Experiment.open(homes.experiment)  # by the next console
    assert await homes.read("fast2", another) == ["step 6"] * 2
    assert await homes.read("fast1", another) == []
    another.close()
    lines = ["step 1", "step 2", "step 3", "step 4", "step 5", "step 3 once more", "step 6"]
    assert kept(homes.experiment) == (lines, lines)


async def test_machines_that_share_a_home_have_one_folder(homes: Homes) -> None:
    experiment = Experiment.create(homes.experiment, "")
    homes.write("shared", "step 1", "step 2")
    (homes.folder.parent / "elsewhere").symlink_to(homes.folder.parent / "shared")
    await homes.read("shared", experiment)

    homes.write("elsewhere", "step 3")

    assert await homes.read("elsewhere", experiment) == ["step 3"] * 2
    experiment.close()


async def test_who_only_watched_keeps_what_no_console_has_kept_of_any_home(homes: Homes) -> None:
    """It takes over from a console that has left, and had read another machine last."""
    keeper = Experiment.create(homes.experiment, "")
    homes.write("fast1", "step 1", "step 2")
    await homes.read("fast1", keeper)
    watcher = Experiment.open(homes.experiment)
    assert not watcher.writable
    assert await homes.read("fast1", watcher) == ["step 1", "step 2"] * 2
    homes.write("fast2", "step 3")
    assert await homes.read("fast2", watcher) == ["step 3"] * 2
    homes.write("fast1", "step 4")
    await homes.read("fast1", keeper)
    keeper.close()

    assert watcher.take_over()

    assert await homes.read("fast2", watcher) == []  # it was shown, and is kept now
    assert await homes.read("fast1", watcher) == ["step 4"] * 2  # it is kept, and shown now
    watcher.close()
    assert kept(homes.experiment)[0] == ["step 1", "step 2", "step 4", "step 3"]
