"""The fingerprint of a gradient: the same however the batch is split, another one when the gradient is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.health.gradient_fingerprint import GROUPS, PROJECTIONS, Fingerprint, mix, project, signed
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import spec
from tests.trainer.ranks import make_job, run_ranks


def test_the_signs_are_splitmix64_s_and_depend_on_the_seed_and_the_place_alone() -> None:
    # The first outputs of splitmix64 from the seed 1234567, as its authors' program prints them.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    z = torch.arange(1, 4) * signed(0x9E3779B97F4A7C15) + 1234567
    assert [int(value) % (1 << 64) for value in mix(z)] == known
    gradient = torch.randn(1000, dtype=torch.float64)
    whole = project(gradient, 0, seed=7)
    assert torch.allclose(project(gradient[:300], 0, 7) + project(gradient[300:], 300, 7), whole, rtol=1e-12)
    assert not torch.allclose(project(gradient, 0, seed=8), whole)
    expected = [sum((1 if value >> bit & 1 else -1) for value in known) for bit in range(PROJECTIONS)]
    assert project(torch.ones(3, dtype=torch.float64), 0, 1234567).tolist() == expected


def test_of_many_tensors_groups_are_kept_and_one_without_a_gradient_counts_as_0() -> None:
    many = [torch.nn.Parameter(torch.ones(2)) for _ in range(GROUPS + 10)]
    for parameter in many[1:]:
        parameter.grad = torch.ones(2)
    found = Fingerprint.of(many, seed=0)
    assert (found.tensors, len(found.norms), len(found.projections)) == (GROUPS + 10, GROUPS, PROJECTIONS)
    assert found.norms[:2] == (2**0.5, 2.0)
    assert found.norms[-1] == 2**0.5
    assert sum(norm**2 for norm in found.norms) == pytest.approx(2 * (GROUPS + 9), rel=1e-12)


OPTIONS = RunOptions(
    task="simple_cnn/digits", norm="group", dtype="float64", global_batch=96, steps=8, eval_every=0, checkpoint_every=0,
    checkpoint_steps=3, clip_norm=0.1,
)  # fmt: skip


def recorded(rank: int, world_size: int, given: dict[str, Any]) -> None:
    """A run of a few steps. `alters`: an element of the last gradient that the rank adds to, as a fraction of it."""
    job = make_job(rank, world_size, OPTIONS, given["shares"], double=False)
    if rank == 0:
        about = replace(spec(1), options=OPTIONS)
        recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank 0"), Line(), about)
        job.recorder, job.schedule = recorder, recorder.schedule
    if given.get("alters"):
        parameter = max(job.task_model.parameters(), key=lambda p: p.numel())
        parameter.register_hook(lambda gradient: gradient * (1 + given["alters"]))
    train(job)


class Line(Unheard):
    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_figures: None


def fingerprints(folder: Path) -> dict[int, list[float]]:
    """By step: norms, then projections over the whole norm, so that all are of one size."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]
    found = {}
    for data in (event["data"] for event in events if event["kind"] == "fingerprint"):
        whole = sum(norm**2 for norm in data["norms"]) ** 0.5
        found[data["step"]] = [value / whole for value in (*data["norms"], *data["projections"])]
    return found


@pytest.mark.long
@pytest.mark.ranks
def test_three_splits_record_what_one_process_does_and_an_altered_gradient_shows(tmp_path: Path) -> None:
    splits: dict[str, tuple[int, ...]] = {"one": (96,), "even": (48, 48), "uneven": (80, 16), "three": (60, 30, 6)}
    for name, shares in splits.items():
        (tmp_path / name).mkdir()
        run_ranks(len(shares), recorded, {"shares": shares, "folder": tmp_path / name})
    alone = fingerprints(tmp_path / "one")
    assert sorted(alone) == [4, 7]  # the steps after the checkpoints of steps 3 and 6, and none after the last
    for name in ("even", "uneven", "three"):
        for step, values in fingerprints(tmp_path / name).items():
            assert values == pytest.approx(alone[step], rel=0, abs=1e-9)
    (tmp_path / "altered").mkdir()
    run_ranks(1, recorded, {"shares": (96,), "folder": tmp_path / "altered", "alters": 1e-3})
    differs = [abs(a - b) for a, b in zip(fingerprints(tmp_path / "altered")[4], alone[4], strict=True)]
    assert max(differs) > 1e-5
