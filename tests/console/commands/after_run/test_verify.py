"""`motley verify`: real ranks train, a step of theirs is computed again by one process."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.console.commands.after_run.verify import request_of, settings_of
from motley.console.report.past_run import PastRun
from motley.console.report.recorded_step import StepRecords, whole_checkpoint
from motley.console.report.verification import Verification, compared, tolerance
from motley.remote.errors import UsageError
from motley.trainer.contract.spec import RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training import checkpoint
from motley.trainer.training.loop import train
from motley.trainer.training.metrics import MetricsFile
from motley.trainer.training.recorder import Recorder
from motley.trainer.training.sampler import BatchSampler
from motley.trainer.verify.recomputed_step import recompute
from tests.console.commands.after_run.test_report import motley
from tests.trainer.coordinating import spec
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

EXACT = RunOptions(
    task="simple_cnn/digits", norm="group", global_batch=96, steps=8, eval_every=0, checkpoint_every=0,
    checkpoint_steps=3, clip_norm=0.1,
)  # fmt: skip
INEXACT = replace(EXACT, norm="batch", dropout=0.3, accumulate=2)
SHARES = (80, 16)


class Line(Unheard):
    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_figures: None


def recorded(rank: int, world_size: int, given: dict[str, Any]) -> None:
    """A run of a few steps, which is written into a folder as a host has it. `alters`: the part of a tensor's gradient
    that each rank adds to it; `order`: the seed of another order of samples than the run says."""
    options = given["options"]
    job = make_job(rank, world_size, options, given["shares"], double=False)
    job.metrics = MetricsFile(given["folder"], member=rank)
    if given.get("order"):
        job.batches = BatchSampler(count=job.batches.count, global_batch=options.global_batch, seed=given["order"])
    if rank == 0:
        journal = Journal(given["folder"], host="box", source="rank 0")
        recorder = Recorder(given["folder"], journal, Line(), replace(spec(1), options=options))
        job.recorder, job.schedule = recorder, recorder.schedule
        recorder.began(job)
    if given.get("alters"):
        parameter = max(job.task_model.parameters(), key=lambda p: p.numel())
        parameter.register_hook(lambda gradient: gradient * (1 + given["alters"]))
    train(job)


def a_run(folder: Path, options: RunOptions, **given: Any) -> Path:
    """The experiment that a console would have brought home of it."""
    host = folder.with_suffix(".host")
    host.mkdir(parents=True)
    run_ranks(len(SHARES), recorded, {"options": options, "shares": SHARES, "folder": host, **given})
    (folder / "logs").mkdir(parents=True)
    for rank in range(len(SHARES)):
        shutil.copy(host / f"rank_{rank}.jsonl", folder / f"logs/rank_{rank}_metrics.jsonl")
    shutil.copy(host / "events.jsonl", folder / "events.jsonl")
    shutil.copytree(host / "checkpoints", folder / "checkpoints")
    changed = {key: value for key, value in asdict(options).items() if value != asdict(RunOptions())[key]}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in changed.items())
    hosts = "".join(f'[[hosts]]\nname = "box{rank}"\n' for rank in range(len(SHARES)))
    (folder / "cluster.toml").write_text(f'[cluster]\nconnect = "demo"\n{hosts}[run]\n{lines}\n')
    return folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("verify") / "experiments/honest", EXACT)


@pytest.fixture
def copied(honest: Path, tmp_path: Path) -> Path:
    """One to alter."""
    return Path(shutil.copytree(honest, tmp_path / "experiments/copied"))


def checked(folder: Path, step: int) -> Verification:
    """As the verb does it, in this process."""
    past = PastRun.open(folder)
    records = StepRecords.of(past.records())
    written, cluster = records.at(step), settings_of(past)
    whole = whole_checkpoint(folder, records, step)
    path = whole[0] if whole is not None else None
    here = json.loads(json.dumps(recompute(request_of(cluster, written, path, None, past))))
    limit, limit_of = tolerance(written, dtype=cluster.run.dtype, compress=cluster.run.compress)
    return compared(past.name, str(path and path.name), written, here, limit=limit, limit_of=limit_of)


def reseal(folder: Path, name: str, **changed: Any) -> None:
    """A checkpoint with another content, and a run that says it has written just that."""
    path = folder / "checkpoints" / name
    saved = checkpoint.save(path, {**checkpoint.load(path), **changed})
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "checkpoint" and line["data"]["path"].endswith(name):
            line["data"]["sha256"] = saved.sha256
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("step", [4, 7])
def test_an_honest_step_of_an_uneven_split_is_what_one_machine_computes(honest: Path, step: int) -> None:
    found = checked(honest, step)
    assert found.agrees, found.wrong
    assert (found.samples, found.split, found.checkpoint) == (96, False, f"step_{step - 1}.pt")
    assert max(found.loss_off or 0, found.gradient_off or 0, found.norms_off or 0) < 1e-5


def test_with_batchnorm_and_dropout_the_ranks_parts_are_computed_as_they_were(tmp_path: Path) -> None:
    found = checked(a_run(tmp_path / "inexact", INEXACT), 4)
    assert found.split
    assert found.agrees, found.wrong


def test_a_gradient_that_was_altered_by_a_thousandth_is_found(tmp_path: Path) -> None:
    found = checked(a_run(tmp_path / "altered", EXACT, alters=1e-3), 4)
    assert not found.agrees
    assert 1e-4 < (found.gradient_off or 0) < 3e-3
    assert any(text.startswith("the gradient is off by") for text in found.wrong)


def test_another_order_of_samples_is_found(tmp_path: Path) -> None:
    found = checked(a_run(tmp_path / "order", EXACT, order=7), 4)
    assert not found.agrees
    assert (found.gradient_off or 0) > 0.01


def test_a_checkpoint_that_was_changed_is_found(copied: Path) -> None:
    path = copied / "checkpoints/step_3.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"step_3\.pt is not the checkpoint that the run wrote"):
        checked(copied, 4)


def test_weights_that_were_changed_and_sealed_again_are_found(copied: Path) -> None:
    model = checkpoint.load(copied / "checkpoints/step_3.pt")["model"]
    weights = {name: value * 1.01 if torch.is_floating_point(value) else value for name, value in model.items()}
    reseal(copied, "step_3.pt", model=weights)
    found = checked(copied, 4)
    assert not found.agrees
    assert (found.gradient_off or 0) > 1e-3


def test_a_seed_that_was_changed_everywhere_is_found(copied: Path) -> None:
    toml = copied / "cluster.toml"
    toml.write_text(toml.read_text().replace("[run]", "[run]\nseed = 3"))
    reseal(copied, "step_3.pt", seed=3)
    assert not checked(copied, 4).agrees


def test_a_step_that_was_not_recorded_is_refused_with_the_nearest(honest: Path) -> None:
    with pytest.raises(UsageError, match=r"of step 5 no gradient was recorded: .* The nearest: 1, 4, 7"):
        checked(honest, 5)


def test_the_command_computes_in_a_process_of_its_own(honest: Path) -> None:
    done = motley(honest.parents[1], "verify", "honest", "--step", "7")
    assert done.returncode == 0, done.stderr
    assert "step 7 of 'honest' is what one machine computes" in done.stdout
    refused = motley(honest.parents[1], "verify", "honest", "--step", "6")
    assert (refused.returncode, refused.stdout) == (2, "")
    nothing = motley(honest.parents[1], "verify", "honest", "--step", "7", "--python", "/nowhere/python")
    assert nothing.returncode == 2
    assert "/nowhere/python can't be started" in nothing.stderr
