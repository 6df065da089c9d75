"""A run in another job: which checkpoint it should have begun from, and what nodes that lack a part of it are given."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import CheckFailed, CommandFailed, Finding, HostError, RunFailed, UsageError
from motley.remote.launch import resume_words
from motley.remote.session.placed import hand_over
from motley.remote.session.placed.hand_over import NEVER, HandOver, began_from, began_with, newest_before
from motley.remote.ssh.commands import Result
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.wire import Event, encode
from tests.remote.session.placed.requeued_nodes import cluster_of
from tests.trainer.coordinating import spec


def test_what_this_start_of_the_job_has_written_does_not_count() -> None:
    found = [Trailer(18, ""), Trailer(300, "", 1000), Trailer(31, "", 2000)]

    assert newest_before(found, 2) == (1000, 300)
    assert newest_before(found, 1) == (0, 18)
    assert newest_before([], 1) == NEVER < (0, 0)


def test_the_leader_s_note_counts_for_its_own_start_of_the_job_only() -> None:
    assert began_from(b'{"restarts": 2, "age": [1000, 30]}', 2) == (1000, 30)
    assert began_from(b'{"restarts": 1, "age": [0, 18]}', 2) is None
    for odd in (None, b"", b"[]", b'{"restarts": 2}', b'{"restarts": 2, "age": []}', b'{"restarts": 2, "age": 7}'):
        assert began_from(odd, 2) is None


class Nodes:
    """In place of `Verbs`: what nodes have of the run, and what they answer to `requeued`."""

    def __init__(self, cluster: Cluster, have: dict[str, bool | HostError]) -> None:
        self.hosts, self.tree = self, self
        self.cluster, self.folder = cluster, ".motley/code/1"
        self.have = have
        self.answers: dict[str, dict[str, Any]] = {}  # by host; others take the run up
        self.states: dict[str, str] = {}  # of the run, by host
        self.theirs = dataclasses.replace(spec(3), host="slow-1", leader="fast")
        self.asked: list[tuple[str, Sequence[str], bytes]] = []  # of `requeued`: host, words, stdin
        self.tries = 0

    def named(self, name: str) -> Any:
        return next(host for host in self.cluster.hosts if host.name == name)

    async def has(self, host: str, _run: str) -> bool:
        self.tries += 1
        found = self.have[host]
        if isinstance(found, HostError):
            raise found
        return found

    async def fetch(self, *_: str) -> bytes:
        return b'{"restarts": 1, "age": [-1, -1]}'

    async def status(self, host: str) -> list[dict[str, Any]]:
        return [{"run": "night", "state": self.states[host]}] if host in self.states else []

    async def spec(self, *_: str) -> Spec:
        return self.theirs

    def argv(self, host: str, *words: str) -> list[str]:
        return [host, *words]

    async def connection(self, _host: str) -> Nodes:
        return self

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", **_: Any) -> Result:
        self.asked.append((argv[0], argv[1:], stdin))
        answer = self.answers.get(argv[0], {"ok": True, "pid": 1})
        return Result(code=0, stdout=json.dumps(answer).encode(), stderr="")


class Scene:
    """`failed`: what `specs_of` says of nodes that can't have their part, or what it raises."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **have: bool | HostError) -> None:
        self.nodes = Nodes(cluster_of(folder), {name.replace("_", "-"): has for name, has in have.items()})
        self.folder = folder / "experiments/night"
        self.folder.mkdir(parents=True)
        self.failed: dict[str, Exception] | Exception = {}
        self.notes: list[str] = []
        self.brought: list[tuple[ResumeFrom, list[str], Path]] = []
        monkeypatch.setattr(hand_over, "specs_of", self._specs_of)
        monkeypatch.setattr(hand_over, "bring_checkpoint", self._bring)

    async def look(self) -> None:
        verbs: Any = self.nodes
        knows: Any = None
        over = HandOver(verbs, "night", self.folder, knows=knows, emit=lambda _: None, note=self._note)
        await over.look(begun=True)

    @property
    def given(self) -> dict[str, bytes]:
        return {host: stdin for host, _, stdin in self.nodes.asked}

    def _note(self, text: str, level: str) -> None:
        self.notes.append(f"{level}: {text}")

    async def _specs_of(self, *words: Any, **_: Any) -> Any:
        if isinstance(self.failed, Exception):
            raise self.failed
        specs = {name: dataclasses.replace(spec(3), host=name, leader="fast") for name in words[-1]}
        return {name: one for name, one in specs.items() if name not in self.failed}, dict(self.failed)

    async def _bring(
        self, _verbs: Any, _leader: str, wanted: ResumeFrom, hosts: list[str], old: Path, _warn: Callable[[str], object]
    ) -> str:
        self.brought.append((wanted, list(hosts), old))
        return "step_120.pt"


SLOW = CommandFailed("slow-2", "test did not end within 15 s", "Try again.")


async def test_another_node_that_can_not_be_given_its_part_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=True, slow_1=False, slow_2=False)
    scene.failed = {"slow-2": CommandFailed("slow-2", "the disk is full", "Make room.")}

    await scene.look()

    assert list(scene.given) == ["slow-1"]
    (warning,) = [note for note in scene.notes if "goes on all the same" in note]
    assert warning.startswith("warning: slow-2: these nodes could not be given what they need of 'night'")
    assert "the disk is full. Make room. `motley attach night` tries again" in warning


@pytest.mark.parametrize("error", [UsageError("the project here has another hash"), ValueError("other devices")])
async def test_what_keeps_all_others_out_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=True, slow_1=False, slow_2=False)
    scene.failed = error

    await scene.look()

    assert scene.given == {}
    assert any("slow-1, slow-2: these nodes could not be given" in note and str(error) in note for note in scene.notes)


@pytest.mark.parametrize("silent", ["fast", "slow-2"])
async def test_a_node_that_does_not_say_what_it_has_is_asked_again_and_then_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=True, slow_1=True, slow_2=True)
    scene.nodes.have[silent] = SLOW

    await scene.look()

    assert scene.nodes.tries == 2 + hand_over.TRIES
    assert scene.given == {}
    assert [f"{silent}: these nodes did not say" in note for note in scene.notes] == [True]


async def test_a_node_that_refuses_to_take_it_up_is_done_without_unless_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=False, slow_1=True, slow_2=False)
    scene.nodes.answers = {"slow-2": {"ok": False, "error": "no space left on device"}}

    await scene.look()

    assert list(scene.given) == ["fast", "slow-2"]
    assert any("no space left on device" in note for note in scene.notes)
    scene.nodes.answers = {"fast": {"ok": False, "error": "no space left on device"}}
    with pytest.raises(RunFailed, match=r"can't go on there: fast: no space left(.|\n)*motley run --resume night"):
        await scene.look()


async def test_the_node_that_leads_and_can_not_have_it_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=False, slow_1=True, slow_2=True)
    scene.failed = {"fast": CheckFailed([Finding("fast", "push", "error", "the disk is full", "Make room.")])}

    with pytest.raises(RunFailed, match="can't go on there: fast: the disk is full"):
        await scene.look()

    scene.nodes.states["fast"] = "running"  # by another console, meanwhile
    await scene.look()
    assert any("goes on all the same: fast: the disk is full" in note for note in scene.notes)


async def test_what_another_console_has_had_taken_up_is_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=True, slow_1=True, slow_2=False)
    scene.nodes.answers = {"slow-2": {"ok": True, "already": True}}

    await scene.look()

    assert not any("goes on all the same" in note for note in scene.notes)


def began(scene: Scene, text: str) -> None:
    """What its console has kept of the start."""
    event = Event(time=1.0, host="console", source="console", kind="note", text=text)
    (scene.folder / "events.jsonl").write_bytes(encode(event))


@pytest.mark.parametrize(("checkpoint", "place"), [("", ""), ("best", "/step_120.pt")])
async def test_a_fresh_leader_is_given_what_the_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str, place: str
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=False, slow_1=True, slow_2=True)
    began(scene, resume_words.said(ResumeFrom("day", checkpoint)))

    await scene.look()

    (given,) = [Spec.from_json(text) for text in scene.given.values()]
    assert (given.resume, given.resumed_from) == (f"~/.motley/runs/day/fast/checkpoints{place}", "day")
    ((wanted, hosts, old),) = scene.brought
    assert (wanted, sorted(hosts)) == (ResumeFrom("day", checkpoint), ["fast", "slow-1", "slow-2"])
    assert old == tmp_path / "experiments/day"


async def test_from_a_machine_that_did_not_start_it_a_node_tells_what_the_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=False, slow_1=True, slow_2=True)
    folder = "/home/ada/.motley/runs/day/fast/checkpoints"
    scene.nodes.theirs = dataclasses.replace(scene.nodes.theirs, resume=folder, resume_of="day")

    await scene.look()

    assert [wanted for wanted, _, _ in scene.brought] == [ResumeFrom("day")]


async def test_a_run_that_began_anew_is_given_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, fast=False, slow_1=True, slow_2=True)

    await scene.look()

    (given,) = [Spec.from_json(text) for text in scene.given.values()]
    assert (given.resume, scene.brought) == (None, [])


@pytest.mark.parametrize(
    ("resume", "resume_of", "wanted"),
    [
        ("/h/day/fast/checkpoints/best.pt", "day", ResumeFrom("day", "best")),
        ("/h/night/fast/checkpoints", "night", None),  # of its own
        ("/h/night/fast/checkpoints/step_3.pt", "/etc/passwd", None),
        ("/h/night/fast/checkpoints/step_3.pt", "-x", None),
        (None, "", None),
    ],
)
def test_what_a_host_says_of_it_is_a_name_or_nothing(
    resume: str | None, resume_of: str, wanted: ResumeFrom | None
) -> None:
    assert began_with(dataclasses.replace(spec(1), resume=resume, resume_of=resume_of)) == wanted
