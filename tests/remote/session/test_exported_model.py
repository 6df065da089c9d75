"""`motley export` from the machine with the console: whichever host has the checkpoint, and none of what is damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from motley.remote.errors import CommandFailed, HostError, NotWritten, UsageError
from motley.remote.experiment import incoming_model
from motley.remote.experiment.incoming_model import IncomingModel
from motley.remote.hosts.pool import Hosts
from motley.remote.session import exported_model
from motley.remote.session.exported_model import Exported, export, why_none
from motley.trainer.contract.spec import RunOptions
from motley.trainer.training import checkpoint
from tests.remote.stage import Stage
from tests.trainer.trained import NIGHT, damage, own_project, same, spec_of, state, trained, weights, write_events

pytestmark = pytest.mark.ranks


class Night:
    """A run that is over, its checkpoints on two hosts and here: steps by name."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.warnings: list[str] = []

    async def keeps(self, checkpoints: Mapping[str, Mapping[str, int]], *, evaluated: int | None = None) -> None:
        async with Hosts(self._stage.cluster()) as hosts:
            for host in ("box0", "box1"):
                await hosts.get(host)
        for host, found in checkpoints.items():
            if host:
                trained(self.home(host), spec_of("night", host), found, evaluated=evaluated)
                continue
            folder = self._stage.experiment("night")
            (folder / "checkpoints").mkdir(parents=True)
            write_events(folder, evaluated)
            for name, step in found.items():
                checkpoint.save(folder / f"checkpoints/{name}.pt", state(step))

    def home(self, host: str) -> Path:
        (demo,) = (self._stage.home / ".motley" / "demo").iterdir()
        return demo / host

    def file(self, host: str, name: str) -> Path:
        folder = self._stage.run_folder("night", host) if host else self._stage.experiment("night")
        return folder / "checkpoints" / name

    async def export(self, name: str = "out.safetensors", *, best: bool = False, force: bool = False) -> Exported:
        return await export(
            self._stage.cluster(), "night", self._stage.folder / name, best=best, force=force,
            warn=self.warnings.append, tree=self._stage.tree,
        )  # fmt: skip

    def weights(self, name: str = "out.safetensors") -> dict[str, torch.Tensor]:
        return safetensors.torch.load_file(self._stage.folder / name)

    def left(self) -> list[str]:
        return [path.name for path in self._stage.folder.iterdir() if ".part" in path.name]


@pytest.fixture
def night(stage: Stage) -> Night:
    return Night(stage)


@pytest.mark.long
async def test_the_newest_is_taken_from_whichever_host_has_it_and_the_best_where_it_is_asked_for(night: Night) -> None:
    await night.keeps({"box0": {"epoch_2": 12, "best": 6}, "box1": {"held": 17}, "": {"epoch_2": 12}}, evaluated=17)
    found = await night.export()
    assert (found.host, found.checkpoint, found.metadata["step"]) == ("box1", "held.pt", 17)
    assert (found.metadata["accuracy"], found.bytes) == (0.75, (night._stage.folder / "out.safetensors").stat().st_size)
    assert same(night.weights(), weights(17))
    with pytest.raises(UsageError, match="out.safetensors is there already"):
        await night.export(best=True)
    assert same(night.weights(), weights(17))
    found = await night.export(best=True, force=True)
    assert (found.host, found.checkpoint, found.metadata["accuracy"]) == ("box0", "best.pt", 0.1)
    assert same(night.weights(), weights(6))
    await night.export("out.pt")
    assert same(torch.load(night._stage.folder / "out.pt", weights_only=True)["model"], weights(17))
    assert (night.warnings, night.left()) == ([], [])


OWN_FILES = """
    def export(self, weights, about, room, *, merge):
        (room / "large.bin").write_bytes(bytes(3_000_000))
        return {"about.txt": f"{about['step']} {merge}".encode(), "large.bin": room / "large.bin"}
"""


async def test_a_task_s_own_folder_comes_whole_from_the_host_that_has_the_checkpoint(night: Night) -> None:
    await night.keeps({})
    home = night.home("box1")
    trained(home, spec_of("night", "box1", "night.py", own_project(home, NIGHT.rstrip() + OWN_FILES)), {"final": 18})
    folder = night._stage.folder / "out-v1.2"
    found = await export(
        night._stage.cluster(), "night", folder, best=False, force=False, warn=night.warnings.append,
        tree=night._stage.tree, merge=True,
    )  # fmt: skip
    assert (found.host, found.metadata["step"]) == ("box1", 18)
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        "about.txt": 7, "large.bin": 3_000_000, "motley.json": found.bytes - 3_000_007,
    }  # fmt: skip
    assert (folder / "about.txt").read_text() == "18 True"
    assert night.left() == []


@pytest.mark.long
async def test_what_is_damaged_is_passed_over_and_said(night: Night) -> None:
    await night.keeps({"box0": {"epoch_2": 12}, "box1": {"held": 17}})
    damage(night.file("box1", "held.pt"))
    assert (await night.export()).metadata["step"] == 12
    assert night.warnings == [
        "held.pt of 'night' on box1, of step 17, is damaged, or went while it was read: the next newest is looked at"
    ]
    damage(night.file("box0", "epoch_2.pt"))
    with pytest.raises(UsageError, match="every checkpoint of 'night' is damaged: held.pt, epoch_2.pt"):
        await night.export(force=True)
    assert same(night.weights(), weights(12))  # what was there stays
    assert night.left() == []


async def test_one_that_is_only_here_is_lent_to_a_host(night: Night) -> None:
    await night.keeps({"box1": {"epoch_1": 6}, "": {"epoch_3": 18}}, evaluated=18)
    found = await night.export()
    assert (found.host, found.checkpoint, found.metadata["accuracy"]) == ("this machine", "epoch_3.pt", 0.75)
    assert same(night.weights(), weights(18))


async def test_without_a_host_that_can_the_python_of_this_machine_reads_it(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    await night.keeps({"": {"epoch_3": 18}})
    cluster = night._stage.cluster(hosts={"box0": 'python = "/no/python"'})
    file = night._stage.folder / "out.safetensors"
    found = await export(cluster, "night", file, best=False, force=False, warn=night.warnings.append)
    assert found.metadata["run"] == "night"
    assert same(night.weights(), weights(18))
    assert "box0 does not answer" in night.warnings[0]
    monkeypatch.setattr(exported_model, "has_torch", lambda: False)
    with pytest.raises(HostError, match="reading it takes torch"):
        await export(cluster, "night", file, best=False, force=True, warn=night.warnings.append)


@pytest.mark.parametrize(
    ("checkpoints", "best", "cause"),
    [
        ({}, False, "no host knows a run named 'night', and .*experiments has none: `motley status` lists"),
        ({"box0": {}}, False, "'night' has no checkpoint: it ended before it wrote one"),
        ({"box0": {"final": 18}}, True, "'night' has no best.pt: the first evaluation brings one"),
    ],
)
async def test_where_there_is_none_that_is_said(night: Night, checkpoints: Any, best: bool, cause: str) -> None:
    await night.keeps(checkpoints)
    with pytest.raises(UsageError, match=cause):
        await night.export(best=best)


async def test_of_a_script_it_is_the_script_that_knows(night: Night) -> None:
    await night.keeps({"box0": {}})
    spec = replace(spec_of("night", "box0"), options=RunOptions(script="train.py"))
    (night.file("box0", "x").parents[1] / "spec.json").write_text(spec.to_json())
    with pytest.raises(
        UsageError, match="'night' is a run of a script of your own, and has no checkpoint of Motley's: "
    ):
        await night.export()


async def test_of_a_loop_of_one_s_own_that_has_no_best_one_it_is_said_how_it_comes_to_it(night: Night) -> None:
    await night.keeps({"box0": {"epoch_2": 12}})
    spec = replace(spec_of("night", "box0"), options=RunOptions(script="train.py"))
    (night.file("box0", "x").parents[1] / "spec.json").write_text(spec.to_json())
    with pytest.raises(UsageError, match=r"'night' has no best.pt: a loop of your own writes one by run.save"):
        await night.export(best=True)


def test_a_run_that_has_just_begun_and_a_host_that_is_silent_are_named(tmp_path: Path) -> None:
    silent = [CommandFailed("box1", "it is off", "")]
    told = {"box0": {"state": "running", "leader": "box0"}}
    why = why_none("night", told, silent, tmp_path / "night", best=False)
    assert why == "'night' has no checkpoint; no answer from box1: the end of its first epoch brings one"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("model.onnx", "has to end in .safetensors or .pt"),
        ("no/model.pt", "there is no folder .*/no"),
        ("folder.pt", "is a folder"),
    ],
)
async def test_a_file_that_can_t_be_is_told_before_any_host_is_asked(night: Night, name: str, cause: str) -> None:
    (night._stage.folder / "folder.pt").mkdir()
    with pytest.raises(UsageError, match=cause):
        await night.export(name)


HEAD = b'{"ok": true, "bytes": 4, "metadata": {"step": 3}, "notes": ["x"]}\n'


def test_a_disk_that_has_no_room_or_refuses_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"mine")
    incoming = IncomingModel(file, force=True)
    incoming.begin("box0")
    with pytest.raises(NotWritten, match=r"model.pt takes 1073741824.0 MiB, .* free there: make room"):
        incoming.take(HEAD.replace(b"4", str(2**50).encode()))
    incoming.begin("box0")

    def refuses(_: int) -> None:
        raise OSError(28, os.strerror(28))

    incoming.take(HEAD + b"ab")
    incoming.take(b"cd")
    assert (incoming.ended("box0", ""), incoming.notes) == (False, ["x"])
    with monkeypatch.context() as patched:
        patched.setattr(incoming_model.os, "fsync", refuses)  # type: ignore[attr-defined]
        with pytest.raises(NotWritten, match="model.pt can't be written: No space left on device"):
            incoming.keep()
    incoming.close()
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (b"mine", [file])


@pytest.mark.parametrize(
    ("chunks", "cause"),
    [
        ([], "`export` did not answer; it said: no such thing"),
        ([b"[1]\n"], "answered list, no table"),
        ([HEAD, b"abcde"], "sent more than it announced"),
        ([HEAD, b"abc"], "the file ended 1 bytes too soon"),
        ([HEAD.replace(b"4", b"0")], "bytes that are not above 0"),
        ([b'{"ok": false, "error": "no torch", "remedy": "Install it"}\n'], r"no torch\. Install it\."),
    ],
)
def test_a_host_that_says_what_does_not_fit_leaves_nothing(tmp_path: Path, chunks: list[bytes], cause: str) -> None:
    incoming = IncomingModel(tmp_path / "model.pt", force=False)
    incoming.begin("box0")

    def hear() -> None:
        for chunk in chunks:
            incoming.take(chunk)
        incoming.ended("box0", "usage\nno such thing\n")

    with pytest.raises(CommandFailed, match=cause):
        hear()
    incoming.close()
    assert list(tmp_path.iterdir()) == []
