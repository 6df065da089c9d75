"""A host joins a run of `task = "causal_lm"` with another base model than the run's: it is refused by name, with the
remedy; the others train on. Given the right one it joins."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.feed import LogLine
from motley.remote.provision.push_code import Tree
from motley.remote.ssh.demo_hosts import DemoHosts
from motley.trainer.contract.wire import Event, Sample
from tests.libraries.test_causal_lm_run import LINES
from tests.libraries.tiny_llama import write_llama
from tests.remote.stage import Seen, Stage, staged

WITHIN_S = 1500.0  # importing transformers takes long where others compute
MORE = 5  # steps
HOSTS = ("box0", "box1", "box2")


@pytest.fixture
async def real(tmp_path: Path, home: Path) -> AsyncIterator[Stage]:
    """Ranks that train."""
    async with staged(tmp_path, home, Tree.installed(), WITHIN_S) as made:
        yield made


def written(stage: Stage, hosts: int) -> Path:
    config = stage.folder / "cluster.toml"
    config.write_text(
        f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {stage.port}\n'
        '[run]\ntask = "causal_lm"\nsteps = 1000000\nglobal_batch = 6\naccumulate = 1\n'
        "eval_every = 0\ncheckpoint_every = 0\n"
        '[elastic]\nlost_after_s = 20\n[data]\npush = "rows"\n'
        '[task]\nmodel = "~/tiny"\ntrain = "train.jsonl"\ntest_fraction = 0.0\nlora_targets = ["all-linear"]\n'
        + "".join(f'[[hosts]]\nname = "{name}"\n' for name in HOSTS[:hosts])
    )
    return config


@pytest.mark.longest
async def test_a_newcomer_with_another_base_model_is_refused_and_the_others_train_on(real: Stage) -> None:
    (real.folder / "rows").mkdir()
    rows = "".join(json.dumps({"text": line}) + "\n" for line in LINES * 4)
    (real.folder / "rows/train.jsonl").write_text(rows)
    homes = DemoHosts(load(written(real, 3))).folder
    right = write_llama(real.folder / "right")
    other = write_llama(real.folder / "other", initializer_range=0.05)  # the same shape, names and tokenizer
    for name, model in zip(HOSTS, (right, right, other)):
        shutil.copytree(model, homes / name / "tiny")

    session = real.session("night", seen := Seen(), load(written(real, 2)))
    await session.launch()
    await seen.further(MORE)
    written(real, 3)
    await session.join("box2")
    await seen.until(lambda r: isinstance(r, Event) and "differs from" in r.text and "can't join" in r.text, WITHIN_S)
    (refused,) = [r for r in seen.records if isinstance(r, Event) and "It can't join" in r.text]
    assert refused.level == "warning"
    assert refused.text.startswith("rank 2 on box2 differs from rank 0 on box0: frozen weights ")
    assert "Give all hosts the model that the run began with: [data] push does" in refused.text
    await seen.until(lambda r: isinstance(r, Event) and (r.host, r.kind) == ("box2", "ended"), WITHIN_S)
    await seen.further(MORE)
    groups = [r for r in seen.records if isinstance(r, Event) and r.kind == "group"]
    assert [len(group.data["members"]) for group in groups] == [2], "the others' group was never broken"

    shutil.rmtree(homes / "box2/tiny")
    shutil.copytree(right, homes / "box2/tiny")
    await session.join("box2")
    await seen.until(lambda r: isinstance(r, Sample) and r.member == 2, WITHIN_S)
    ended = await session.stop("enough")
    assert ended.state == "stopped", "\n".join(r.text for r in seen.records if isinstance(r, LogLine))
    assert {host["name"]: host["state"] for host in ended.summary["hosts"]} == dict.fromkeys(HOSTS, "stopped")
