"""A checkpoint that is carried from one host to the one that leads: whole, and not beyond this machine's memory."""

from __future__ import annotations

import hashlib
import json

import pytest

from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import CommandFailed
from motley.remote.hosts.pool import Hosts
from motley.remote.launch import resume_checkpoint
from motley.remote.launch.resume_checkpoint import bring_checkpoint
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract import checkpoint_trailer
from tests.remote.stage import Stage


async def test_no_more_of_it_is_taken_than_there_is_room_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = b"x" * 20_000 + checkpoint_trailer.beginning(7, 0)
    content = begun + hashlib.sha256(begun).hexdigest().encode() + b"\n"
    async with Hosts(stage.cluster()) as hosts:
        for name in ("box0", "box1"):
            await hosts.get(name)
        folder = stage.run_folder("night", "box1")
        (folder / "checkpoints").mkdir(parents=True)
        state = {"run": "night", "host": "box1", "leader": "box1", "state": "stopped"}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "spec.json").write_text("{}")
        (folder / "checkpoints" / "epoch_1.pt").write_bytes(content)
        verbs = Verbs(hosts, stage.tree)
        warnings: list[str] = []

        async def carry() -> None:
            experiment, wanted = stage.experiment("night"), ResumeFrom("night")
            await bring_checkpoint(verbs, "box0", wanted, ["box0", "box1"], experiment, warnings.append)

        with monkeypatch.context() as patch:
            patch.setattr(resume_checkpoint, "_most", lambda: 10_000)
            with pytest.raises(CommandFailed, match="box1: it sent more than 10,000 bytes"):
                await carry()
        await carry()
    assert warnings == []
    assert (stage.run_folder("night", "box0") / "checkpoints" / "step_7.pt").read_bytes() == content
