"""Scripts written with people's libraries, on two demo hosts: their steps and losses are shown as they are printed, as
TensorBoard has them, or as our callbacks report them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Reading
from tests.remote.stage import Seen, Stage

PROGRAMS = Path(__file__).parent / "programs"
TEST_SYNC = '["python", "-m", "accelerate.test_utils.scripts.test_sync"]'


async def read(stage: Stage, started: str) -> list[Reading]:
    """What is read of a run that is started so, to its end."""
    config = stage.folder / "cluster.toml"
    config.write_text(
        f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {stage.port}\n'
        f'[run]\nproject = "{PROGRAMS}"\n{started}\n[[hosts]]\nname = "box0"\n[[hosts]]\nname = "box1"\n'
    )
    session = stage.session("night", seen := Seen(), load(config))
    await session.launch()
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished", "\n".join(r.text for r in seen.records if isinstance(r, LogLine))
    return [record for record in seen.records if isinstance(record, Reading)]


@pytest.mark.parametrize(
    ("started", "step", "total"),
    [
        pytest.param('module = "transformers_trainer"', 40, 40, marks=pytest.mark.longest),
        ('module = "transformers_trainer"\nargs = ["report"]', 40, 40),
        pytest.param('module = "lightning_fit"', 80, None, marks=pytest.mark.longest),
        ('module = "lightning_fit"\nargs = ["report"]', 80, 80),
        ('command = ["accelerate", "launch", "--num_processes", "1", "--cpu", "accelerate_loop.py"]', 40, None),
        ('module = "tensorboard_loop"', 40, 40),
        ('module = "tensorboard_loop"\nargs = ["events"]', 40, None),
    ],
)
async def test_the_last_step_and_its_loss_are_known(stage: Stage, started: str, step: int, total: int | None) -> None:
    last = [reading for reading in await read(stage, started) if reading.member == 0][-1]
    assert (last.step, last.steps_total) == (step, total)
    assert last.loss is not None
    assert math.isfinite(last.loss)


async def test_accelerate_s_own_test_of_gradient_accumulation_passes(stage: Stage) -> None:
    await read(stage, f"command = {TEST_SYNC}")


async def test_transformers_goes_on_from_its_newest_checkpoint_on_another_number_of_hosts(stage: Stage) -> None:
    def cluster(hosts: int, *args: str) -> Cluster:
        config = stage.folder / "cluster.toml"
        config.write_text(
            f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {stage.port}\n[run]\nproject = "{PROGRAMS}"\n'
            f'module = "transformers_resumes"\nargs = {json.dumps(args)}\nresults = ["out/**"]\n'
            + "".join(f'[[hosts]]\nname = "box{n}"\n' for n in range(hosts))
        )
        return load(config)

    session = stage.session("night", seen := Seen(), cluster(2, "waits"))
    await session.launch()
    await seen.until(lambda record: isinstance(record, LogLine) and "saved step 10" in record.text)
    assert (await session.stop("enough")).state == "stopped"
    await session.close()
    kept = stage.experiment("night") / "results/latest/out/checkpoint-10"
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json"} <= {path.name for path in kept.iterdir()}
    session = stage.session("day", seen := Seen(), cluster(3))
    await session.launch(resume="night")
    ended = await session.wait()
    await session.close()
    said = [record.text for record in seen.records if isinstance(record, LogLine)]
    assert ended.state == "finished", "\n".join(said)
    assert (said.count("begins after step 10"), said.count("ended at step 20")) == (3, 3)
    assert (stage.experiment("day") / "results/latest/out/checkpoint-20/model.safetensors").exists()
