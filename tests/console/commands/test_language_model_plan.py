"""What `motley plan` says of a language model: what fits where, from the sizes that this machine knows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from motley.console.commands.language_model_plan import what_fits
from motley.console.commands.stored_profiles import cards_mib, free_mib
from motley.profiles.store import Profile, Store
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.preflight.probe import Accelerator
from tests.profiles.test_language_models import LLAMA_8B, SMOLLM
from tests.profiles.test_store import profile
from tests.remote.preflight.test_judge import CUDA, GOOD

HUB = "HuggingFaceTB/SmolLM2-135M"
CARD = profile("laptop", "cuda:0", free_mib=7800)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HOME", raising=False)
    return tmp_path


def cluster_of(folder: Path, model: str, more: str = "", **task: Any) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(f'[[hosts]]\nname = "laptop"\n{more}')
    found = load(path)
    run = dataclasses.replace(found.run, task="causal_lm")
    return dataclasses.replace(found, run=run, task={"model": model, "train": "a.jsonl", **task})


def keep(folder: Path, config: dict[str, Any] | str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


@pytest.mark.parametrize(
    ("place", "model", "more"),
    [
        ("texts/smol", "smol", '[data]\npush = "texts"\n'),
        ("models/smol", "~/models/smol", ""),
        (".cache/huggingface/hub/models--HuggingFaceTB--SmolLM2-135M/snapshots/8f5a", HUB, ""),
    ],
)
def test_wherever_the_model_is_here(folder: Path, place: str, model: str, more: str) -> None:
    keep(folder / place, SMOLLM)
    cluster = cluster_of(folder, model, more)
    unknown = dataclasses.replace(CARD, host="desktop", free_mib=None)
    assert what_fits(cluster, [CARD, unknown]) == ["laptop cuda:0, 7.6 GiB free: LoRA fits at 1 x 2048, in 3.0 GiB"]
    slow = dataclasses.replace(CARD, device="cpu", free_mib=2000)  # in float32
    assert "LoRA fits at 1 x 512, not at 1 x 2048" not in what_fits(cluster, [slow])[0]
    assert what_fits(cluster, [slow])[0].startswith("laptop cpu, 2.0 GiB free: LoRA fits at 1 x ")


def test_a_model_whose_sizes_are_not_here_is_asked_of_the_hosts(folder: Path) -> None:
    (told,) = what_fits(cluster_of(folder, HUB), [CARD])
    assert told.startswith(f"what of {HUB} fits where is not known here, without its config.json; the hosts say it: ")
    assert "motley check --train" in told


@pytest.mark.parametrize(
    ("config", "task", "word"),
    [
        ("{", {}, "is not known: "),
        ("[]", {}, "is no table"),
        ({**SMOLLM, "num_local_experts": 8}, {}, "mixture of experts"),
        (SMOLLM, {"method": "dora"}, "dora"),
        (SMOLLM, {"length": "long"}, "is not known: "),
    ],
)
def test_what_can_not_be_used_is_a_word_of_the_plan(
    folder: Path, config: dict[str, Any] | str, task: dict[str, Any], word: str
) -> None:
    keep(folder / "m", config)
    (told,) = what_fits(cluster_of(folder, "~/m", **task), [CARD])
    assert word in told


def test_another_task_has_no_such_lines(folder: Path) -> None:
    cluster = cluster_of(folder, HUB)
    other = dataclasses.replace(cluster, run=dataclasses.replace(cluster.run, task="mlp/digits"))
    assert what_fits(other, [CARD]) == []


def test_cards_of_one_rank_count_together(folder: Path) -> None:
    keep(folder / "large", LLAMA_8B)
    cluster = cluster_of(folder, "~/large", method="qlora", length=1024)
    one = dataclasses.replace(CARD, free_mib=8000)
    two = dataclasses.replace(CARD, device="cuda:0+1", free_mib=16000, cards_mib=(8000, 8000))
    alone, together = what_fits(cluster, [one, two])
    assert alone.startswith("laptop cuda:0, 7.8 GiB free: QLoRA fits at 1 x 128, not at 1 x 1024")
    assert together.startswith("laptop cuda:0+1, 7.8 + 7.8 GiB free: QLoRA fits at 1 x 1024, in ")


def test_a_profile_keeps_what_each_card_of_a_rank_had(tmp_path: Path) -> None:
    second = dataclasses.replace(CUDA.gpus[0], index=1, free_mib=6000)
    probe = dataclasses.replace(CUDA, gpus=(*CUDA.gpus, second))
    assert (free_mib("cuda:0+1", probe, ranks=0), cards_mib("cuda:0+1", probe)) == (14000, (8000, 6000))
    assert (free_mib("cuda:0+2", probe, ranks=0), cards_mib("cuda:0+2", probe)) == (None, ())
    assert cards_mib("cuda:0", probe) == ()
    store = Store(tmp_path / "profiles")
    store.write(dataclasses.replace(CARD, device="cuda:0+1", cards_mib=(8000, 6000)))
    assert store.read("laptop", "cuda:0+1", CARD.conditions.task).cards_mib == (8000, 6000)  # type: ignore[union-attr]
    for wrong in ([0], ["x"], [True], "8000"):
        with pytest.raises(ValueError, match="cards_mib"):
            Profile.from_dict({**json.loads(json.dumps(CARD.as_dict())), "cards_mib": wrong})


def test_a_profile_keeps_what_was_free(tmp_path: Path) -> None:
    probe = dataclasses.replace(CUDA, memory_available_mib=6000)
    assert [free_mib(device, probe, ranks=2) for device in ("cuda:0", "cpu", "cuda:1")] == [8000, 3000, None]
    assert free_mib("cpu", GOOD, ranks=1) is None
    cards = (Accelerator(device="xpu:0", name="Arc", total_mib=16000),)
    assert free_mib("xpu:0", dataclasses.replace(GOOD, accelerators=cards), ranks=0) == 16000
    store = Store(tmp_path / "profiles")
    store.write(CARD)
    assert store.of_task(CARD.conditions.task)[0].free_mib == 7800
    table = {key: value for key, value in CARD.as_dict().items() if key != "free_mib"}
    assert Profile.from_dict(json.loads(json.dumps(table))).free_mib is None  # of an older Motley
