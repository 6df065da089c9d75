"""What is brought home: checkpoints whole and only ours, and a summary for every end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.remote.experiment.fetch import Fetcher, final_summary
from motley.remote.experiment.folder import Experiment
from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.wire import Event
from tests.remote.stage import Stage

HOSTS = ("box0", "box1")


def announced(path: object, content: bytes = b"") -> Event:
    data = {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return Event(time=1.0, host="box0", source="rank 0", kind="checkpoint", text="", data=data)


class Home:
    """A leader with checkpoints, and the experiment they are brought to."""

    def __init__(self, verbs: Verbs, folder: Path, experiment: Experiment) -> None:
        self.said: list[str] = []
        self.verbs = verbs
        self.there = folder / "checkpoints"
        self.here = experiment.folder / "checkpoints"
        self.harvest = Fetcher(verbs, "night", experiment, say=self.said.append)

    def write(self, name: str, size: int = 1000) -> Event:
        content = name.encode() * size
        (self.there / name).write_bytes(content)
        return announced(f"checkpoints/{name}", content)

    def brought(self) -> list[str]:
        return sorted(path.name for path in self.here.iterdir())


@pytest.fixture
async def leader(stage: Stage) -> AsyncIterator[Home]:
    async with Hosts(stage.cluster()) as hosts:
        await hosts.get("box0")
        folder = stage.run_folder("night", "box0")
        (folder / "checkpoints").mkdir(parents=True)
        experiment = Experiment.create(stage.experiment("night"), "")
        home = Home(Verbs(hosts, stage.tree), folder, experiment)
        yield home
        await home.harvest.close()
        experiment.close()


async def test_the_newest_epoch_replaces_those_that_wait_and_final_does_not(leader: Home) -> None:
    for name in ("epoch_1.pt", "epoch_2.pt", "final.pt", "epoch_10.pt"):
        leader.harvest.checkpoint(leader.write(name))
    await leader.harvest.finish()
    assert leader.brought() == ["epoch_10.pt", "final.pt"]
    assert (leader.here / "final.pt").read_bytes() == (leader.there / "final.pt").read_bytes()
    assert leader.said == []


async def test_checkpoints_of_epochs_and_of_steps_do_not_replace_each_other(leader: Home) -> None:
    for name in ("epoch_1.pt", "step_9.pt", "step_12.pt", "epoch_2.pt", "step_7.pt"):
        event = leader.write(name)
        why = {"why": "asked" if name == "step_7.pt" else "steps"} if name.startswith("step") else {}
        leader.harvest.checkpoint(replace(event, data={**event.data, **why}))
    await leader.harvest.finish()
    assert leader.brought() == ["epoch_2.pt", "step_12.pt", "step_7.pt"]


async def test_as_many_epochs_are_kept_here_as_on_the_leader(leader: Home) -> None:
    for number in (8, 9, 10, 11, 12):
        leader.harvest.checkpoint(leader.write(f"epoch_{number}.pt"))
        await leader.harvest.finish()
    leader.harvest.checkpoint(leader.write("best.pt"))
    await leader.harvest.finish()
    assert leader.brought() == ["best.pt", "epoch_10.pt", "epoch_11.pt", "epoch_12.pt"]


async def test_a_checkpoint_that_the_user_has_renamed_stays_and_fetching_goes_on(leader: Home) -> None:
    (leader.here / "epoch_10_good.pt").write_bytes(b"mine")
    for number in (11, 12, 13, 14):
        leader.harvest.checkpoint(leader.write(f"epoch_{number}.pt"))
        await leader.harvest.finish()
    assert leader.brought() == ["epoch_10_good.pt", "epoch_12.pt", "epoch_13.pt", "epoch_14.pt"]
    assert leader.said == []


async def test_a_fault_of_our_own_is_said_and_what_comes_next_is_fetched(
    leader: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_self: Fetcher) -> None:
        raise IndexError("a fault")

    monkeypatch.setattr(Fetcher, "_prune", fault)
    monkeypatch.setattr("motley.remote.experiment.fetch.FINISH_S", 20.0)
    leader.harvest.checkpoint(leader.write("epoch_1.pt"))
    await leader.harvest.finish()
    leader.harvest.checkpoint(leader.write("final.pt"))
    await leader.harvest.finish()
    assert leader.brought() == ["epoch_1.pt", "final.pt"]
    (said,) = leader.said
    assert said.startswith("checkpoints/epoch_1.pt could not be fetched: IndexError: a fault")


async def test_an_epoch_that_the_host_has_dropped_is_no_error(leader: Home) -> None:
    leader.harvest.checkpoint(announced("checkpoints/epoch_1.pt"))
    leader.harvest.checkpoint(leader.write("final.pt"))
    await leader.harvest.finish()
    assert leader.brought() == ["final.pt"]
    assert leader.said == []


async def test_a_file_that_is_written_once_more_while_it_is_fetched_is_no_fault(leader: Home) -> None:
    told = [leader.write("best.pt"), leader.write("best.pt", size=1500)]
    fetch = leader.verbs.fetch_to

    async def and_then_told_of(*arguments: Any, **named: Any) -> bool:
        try:
            return await fetch(*arguments, **named)
        finally:
            if told:
                asyncio.get_running_loop().call_soon(leader.harvest.checkpoint, told.pop(0))

    leader.verbs.fetch_to = and_then_told_of  # type: ignore[method-assign]
    leader.harvest.checkpoint(told.pop(0))
    await leader.harvest.finish()
    assert leader.said == []
    assert (leader.here / "best.pt").read_bytes() == (leader.there / "best.pt").read_bytes()


@pytest.fixture
def replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.experiment.fetch.REPLACED_S", 0.05)


@pytest.mark.usefixtures("replaced_at_once")
async def test_another_content_than_announced_is_left_there(leader: Home) -> None:
    event = leader.write("final.pt")
    (leader.there / "final.pt").write_bytes(b"damaged")
    leader.harvest.checkpoint(event)
    await leader.harvest.finish()
    assert leader.brought() == []  # nor a part of it
    assert len(leader.said) == 1
    assert "final.pt of box0" in leader.said[0]
    assert "SHA-256" in leader.said[0]


async def test_a_name_that_a_loop_of_one_s_own_may_give_comes_home(leader: Home) -> None:
    leader.harvest.checkpoint(leader.write("my-net_2.pt"))
    await leader.harvest.finish()
    assert leader.brought() == ["my-net_2.pt"]


@pytest.mark.parametrize(
    "path",
    [
        "checkpoints/../../../../etc/x.pt", "/etc/x.pt", "checkpoints/.pt", "summary.json", "checkpoints/a/b.pt", None,
        7, "checkpoints/" + "a" * 5000 + ".pt", "checkpoints/x.pt\n",
    ],
)  # fmt: skip
async def test_a_host_does_not_choose_where_files_lie(leader: Home, path: object) -> None:
    leader.harvest.checkpoint(announced(path))
    await leader.harvest.finish()
    assert leader.brought() == []
    assert leader.said == []


@pytest.mark.usefixtures("replaced_at_once")
async def test_no_more_is_taken_than_was_announced(leader: Home) -> None:
    event = leader.write("final.pt")
    with (leader.there / "final.pt").open("ab") as file:
        file.truncate(2**33)  # by far more than what is to be had here in time, or in memory
    leader.harvest.checkpoint(event)
    await leader.harvest.finish()
    assert leader.brought() == []
    (said,) = leader.said
    assert "box0: it sent more than 8,000 bytes" in said
    leader.harvest.checkpoint(replace(event, data={**event.data, "bytes": "many"}))
    await leader.harvest.finish()
    assert "does not say how large" in leader.said[1]


async def test_the_connection_may_break_meanwhile(leader: Home) -> None:
    leader.harvest.checkpoint(leader.write("final.pt", size=3_000_000))
    connection = await leader.verbs.connection("box0")
    await connection.close()
    await leader.harvest.finish()
    assert (leader.here / "final.pt").read_bytes() == (leader.there / "final.pt").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
async def test_a_summary_that_is_none(leader: Home, content: bytes | None) -> None:
    if content is not None:
        (leader.there.parent / "summary.json").write_bytes(content)
    assert await leader.harvest.summary("box0") is None
    assert len(leader.said) == (content == b"{")


@pytest.mark.parametrize(
    ("summary", "ends", "stopping", "state"),
    [
        ("finished", ("finished", "finished"), False, "finished"),
        ("finished", ("finished", "finished"), True, "finished"),  # the stop came too late
        ("failed", ("failed", "stopped"), False, "failed"),
        ("stopped", ("stopped", None), False, "stopped"),
        ("running", ("stopped", "stopped"), False, "stopped"),  # the coordinator was ended too
        ("running", ("failed", "lost"), False, "failed"),
        ("running", ("lost", None), False, "lost"),
        ("running", ("lost", None), True, "stopped"),
        (None, ("finished", "finished"), False, "finished"),  # only the summary could not be fetched
        (None, ("finished", None), False, "lost"),
        (None, (None, "stopped"), True, "stopped"),
        (None, (None, None), False, "lost"),
    ],
)
def test_every_end_has_a_whole_summary(
    summary: str | None, ends: tuple[str | None, str | None], stopping: bool, state: str
) -> None:
    told: dict[str, Any] | None = None
    if summary is not None:
        told = {"run": "night", "state": summary, "steps": 7, "hosts": [{"name": h, "state": "x"} for h in HOSTS]}
    states = {host: end for host, end in zip(HOSTS, ends, strict=True) if end is not None}
    table = final_summary("night", told, states, HOSTS, stopping)
    assert (table["run"], table["state"], table["steps"]) == ("night", state, 7 if told else None)
    assert set(table) >= {
        "epochs", "samples", "seconds", "samples_per_s", "final_loss", "eval", "rebalances", "regroups", "phases",
    }  # fmt: skip
    if summary not in ("finished", "failed", "stopped"):
        assert [host["state"] for host in table["hosts"]] == [states.get(host, "lost") for host in HOSTS]


def test_of_a_summary_only_what_makes_sense_is_taken() -> None:
    odd = {"state": "finished", "steps": "many", "hosts": 5, "seconds": [1], "eval": "good", "samples": 9, "more": 1}
    table = final_summary("night", odd, {}, HOSTS, False)
    assert (table["state"], table["steps"], table["seconds"], table["eval"]) == ("finished", 0, 0.0, None)
    assert ([host["name"] for host in table["hosts"]], table["samples"], table["more"]) == (list(HOSTS), 9, 1)
    nameless = final_summary("night", {"state": "running", "hosts": [{"ranks": 1}]}, {}, HOSTS, False)
    assert nameless["hosts"] == [{"ranks": 1, "state": "lost"}]
