"""A whole run of `task = "causal_lm"` on two demo hosts: cluster.toml, a folder that is pushed, and what it learns."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.feed import LogLine
from motley.remote.provision.push_code import Tree
from motley.trainer.contract.wire import Event, Sample
from tests.libraries.tiny_llama import write_llama
from tests.remote.stage import Seen, Stage, staged

WITHIN_S = 900.0  # importing transformers takes long where others compute
LINES = ("the cat sat on the mat", "the big dog ran on the hill", "who is she", "why did he sit", "no it is a red cat")


@pytest.fixture
async def real(tmp_path: Path, home: Path) -> AsyncIterator[Stage]:
    """Ranks that train."""
    async with staged(tmp_path, home, Tree.installed(), WITHIN_S) as made:
        yield made


@pytest.mark.longest
async def test_two_hosts_train_a_pushed_model_to_the_end(real: Stage) -> None:
    data = real.folder / "rows"
    data.mkdir()
    write_llama(data / "tiny")
    (data / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES * 4))
    (data / "test.jsonl").write_text(json.dumps({"text": LINES[0]}) + "\n")
    config = real.folder / "cluster.toml"
    config.write_text(
        f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {real.port}\n'
        '[run]\ntask = "causal_lm"\nsteps = 6\nglobal_batch = 10\naccumulate = 2\nlearning_rate = 0.02\n'
        'activation_checkpointing = true\n[data]\npush = "rows"\n'
        '[task]\nmodel = "tiny"\ntrain = "train.jsonl"\ntest = "test.jsonl"\nlora_targets = ["all-linear"]\n'
        '[[hosts]]\nname = "box0"\n[[hosts]]\nname = "box1"\nspeed = 0.5\n'
    )
    cluster = load(config)
    assert (cluster.run.optimizer, cluster.run.learning_rate, cluster.run.epochs) == ("adamw", 0.02, 3)
    session = real.session("night", seen := Seen(), cluster)
    await session.launch()
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished", "\n".join(r.text for r in seen.records if isinstance(r, LogLine))
    samples = [record for record in seen.records if isinstance(record, Sample)]
    assert {(sample.member, sample.step) for sample in samples} == {(m, s) for m in (0, 1) for s in range(1, 7)}
    notes = [record.text for record in seen.records if isinstance(record, Event)]
    for member in (0, 1):
        assert f"rank {member}: importing transformers" in notes
    losses = [math.fsum(s.loss * s.batch for s in samples if s.step == step and s.loss) / 10 for step in (1, 6)]
    assert losses[1] < losses[0]
    evaluated = [record for record in seen.records if isinstance(record, Event) and record.kind == "evaluated"]
    assert [(event.data["epoch"], event.data["step"]) for event in evaluated] == [(0, 0), (1, 2), (2, 4), (3, 6)]
    assert evaluated[-1].data["loss"] < evaluated[0].data["loss"]
    assert ended.summary["eval_on_start"]["loss"] == evaluated[0].data["loss"]
