"""Which checkpoint a run goes on from: the newest whole one, wherever it lies, and none of a half that was given up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import Unreachable, UsageError
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.resume_checkpoint import Found, bring_checkpoint, newest_first
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.training.checkpoint import newest
from tests.remote.stage import Stage
from tests.remote.stand_in_rank import sealed

HERE, LEADER, OTHER = "", "box0", "box1"
Files = dict[tuple[str, str], bytes]  # by host and name


def whole(step: int, *, line: int = 0) -> bytes:
    return sealed(b"a state of %d bytes" % step * 1000, step, line=line)


def damaged(step: int, *, line: int = 0) -> bytes:
    """Its last line is as it was; a byte before is not."""
    content = bytearray(whole(step, line=line))
    content[500] ^= 1
    return bytes(content)


def found(host: str, line: int, step: int) -> Found:
    return Found(host, "held.pt", Trailer(step=step, sha256="", line=line))


def test_what_a_console_named_last_counts_for_more_than_steps_and_then_what_is_near() -> None:
    given_up, latest = found(OTHER, 0, 700), found(OTHER, 1, 650)
    here, led = found(HERE, 1, 640), found(LEADER, 1, 640)
    assert newest_first([given_up, here, led, latest], LEADER) == [latest, led, here, given_up]


class Night:
    """A run that is over, with files of it on two hosts and here."""

    def __init__(self, stage: Stage, files: Files) -> None:
        self._stage = stage
        self._files = files
        self.warnings: list[str] = []

    def checkpoints(self, host: str) -> Path:
        return (self._stage.run_folder("night", host) if host else self._stage.experiment("night")) / "checkpoints"

    async def bring(self, checkpoint: str = "", *, silent: str = "") -> Path:
        """Brings the newest good one, or the one of this name, to the host that leads; what its ranks go on from."""
        async with Hosts(self._stage.cluster()) as hosts:
            for host in (LEADER, OTHER):
                await hosts.get(host)
                folder = self.checkpoints(host)
                folder.mkdir(parents=True)
                state = {"run": "night", "host": host, "leader": LEADER, "state": "stopped"}
                (folder.parent / "state.json").write_text(json.dumps(state))
                (folder.parent / "spec.json").write_text("{}")
            self.checkpoints(HERE).mkdir(parents=True)
            for (host, name), content in self._files.items():
                (self.checkpoints(host) / name).write_bytes(content)
            verbs, experiment = Verbs(hosts, self._stage.tree), self._stage.experiment("night")
            wanted = ResumeFrom("night", checkpoint)
            if silent:
                take_away(verbs, silent)
            name = await bring_checkpoint(verbs, LEADER, wanted, [LEADER, OTHER], experiment, self.warnings.append)
        ours = self.checkpoints(LEADER)
        return ours / name if checkpoint else newest(ours, lambda _: None)[0]


def take_away(verbs: Verbs, silent: str) -> None:
    """It does not answer any more."""
    status = verbs.status

    async def answers(host: str) -> list[dict[str, Any]]:
        if host == silent:
            raise Unreachable(host, "it can't be reached: timed out", "Look whether it is on.")
        return await status(host)

    verbs.status = answers  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("files", "expected", "passed_over"),
    [
        pytest.param(
            {(LEADER, "epoch_3.pt"): damaged(18), (LEADER, "epoch_2.pt"): whole(12), (OTHER, "held.pt"): whole(17)},
            whole(17),
            ["epoch_3.pt of 'night' on box0, of step 18,"],
            id="the leader's newest is damaged, another host has a good one that is newer than the leader's next",
        ),
        pytest.param(
            {(LEADER, "epoch_2.pt"): whole(12), (OTHER, "held.pt"): damaged(17), (HERE, "epoch_2.pt"): whole(12)},
            whole(12),
            ["held.pt of 'night' on box1, of step 17,"],
            id="another host's newest is damaged, the leader's own is good",
        ),
        pytest.param(
            {(LEADER, "epoch_3.pt"): damaged(18), (OTHER, "epoch_3.pt"): damaged(18), (HERE, "epoch_3.pt"): whole(18)},
            whole(18),
            ["epoch_3.pt of 'night' on box0, of step 18,"],
            id="only the copy that is here is good",
        ),
        pytest.param(
            {(LEADER, "held.pt"): whole(700), (OTHER, "held.pt"): whole(650, line=1)},
            whole(650, line=1),
            [],
            id="the half that was given up trained on alone",
        ),
        pytest.param(
            {(LEADER, "a.pt"): whole(700), (OTHER, "held.pt"): damaged(650, line=1), (HERE, "b.pt"): whole(60, line=1)},
            whole(60, line=1),
            ["held.pt of 'night' on box1, of step 650,"],
            id="even a much earlier step of the line that counts",
        ),
    ],
)  # fmt: skip
async def test_a_run_goes_on_from_the_newest_good_checkpoint(
    stage: Stage, files: Files, expected: bytes, passed_over: list[str]
) -> None:
    night = Night(stage, files)
    assert (await night.bring()).read_bytes() == expected
    assert [text.partition(" is damaged")[0] for text in night.warnings] == passed_over


async def test_where_every_checkpoint_is_damaged_nothing_is_gone_on_from(stage: Stage) -> None:
    night = Night(stage, {(LEADER, "epoch_3.pt"): damaged(18), (OTHER, "held.pt"): damaged(17)})
    with pytest.raises(UsageError, match="no good checkpoint of 'night' in any of: box0, box1, "):
        await night.bring()
    assert [path.name for path in night.checkpoints(LEADER).iterdir()] == ["epoch_3.pt"]
    assert len(night.warnings) == 2


@pytest.mark.parametrize(
    ("asked", "files", "name", "expected", "passed_over"),
    [
        pytest.param(
            "best",
            {(LEADER, "best.pt"): whole(12), (LEADER, "final.pt"): whole(18), (HERE, "best.pt"): whole(12)},
            "best.pt", whole(12), [],
            id="the leader has it, and something newer",
        ),
        pytest.param(
            "epoch_2",
            {(LEADER, "final.pt"): whole(18), (OTHER, "epoch_2.pt"): whole(12)},
            "step_12.pt", whole(12), [],
            id="only another host has it",
        ),
        pytest.param(
            "step_17",
            {(LEADER, "final.pt"): whole(18), (OTHER, "held.pt"): whole(17)},
            "step_17.pt", whole(17), [],
            id="a step, whatever its checkpoint is called",
        ),
        pytest.param(
            "best",
            {(LEADER, "best.pt"): damaged(12), (LEADER, "final.pt"): whole(18), (HERE, "best.pt"): whole(12)},
            "step_12.pt", whole(12), ["best.pt of 'night' on box0, of step 12,"],
            id="the leader's is damaged, the copy here is good",
        ),
    ],
)  # fmt: skip
async def test_a_checkpoint_is_gone_on_from_by_its_name(
    stage: Stage, asked: str, files: Files, name: str, expected: bytes, passed_over: list[str]
) -> None:
    night = Night(stage, files)
    brought = await night.bring(asked)
    assert (brought.name, brought.read_bytes()) == (name, expected)
    assert [text.partition(" is damaged")[0] for text in night.warnings] == passed_over


async def test_a_name_that_no_checkpoint_has_is_answered_with_those_that_there_are(stage: Stage) -> None:
    night = Night(
        stage, {(LEADER, "epoch_2.pt"): whole(12), (OTHER, "held.pt"): whole(17), (HERE, "epoch_2.pt"): whole(12)}
    )
    with pytest.raises(
        UsageError, match=r"no good checkpoint 'best' .* There are: held \(step 17\), epoch_2 \(step 12\)$"
    ):
        await night.bring("best")


async def test_a_host_that_does_not_answer_is_named_when_an_older_one_is_taken(stage: Stage) -> None:
    night = Night(stage, {(LEADER, "epoch_2.pt"): whole(12), (OTHER, "held.pt"): whole(17)})
    assert (await night.bring(silent=OTHER)).read_bytes() == whole(12)
    assert night.warnings == [
        "box1 does not answer (it can't be reached: timed out): what it has of 'night' is not looked at"
    ]
