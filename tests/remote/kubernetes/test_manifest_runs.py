"""Manifests start real pods that train: the commands, variables and files of the text, as processes on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from motley.trainer.contract.wire import Event, Sample
from tests.remote.kubernetes.operator import Operator
from tests.remote.kubernetes.variants import Variant, made
from tests.support.ports import free_pair
from tests.trainer.pod.pods import BOUND_S

pytestmark = pytest.mark.ranks

SCRIPT = """
import os, pathlib, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
rows = pathlib.Path(os.environ["MOTLEY_DATA"], "train.jsonl").read_text().count("text")
pathlib.Path(os.environ["OUTPUT_DIR"]).mkdir(exist_ok=True)
pathlib.Path(os.environ["OUTPUT_DIR"], f"rank_{dist.get_rank()}").write_text(f"{total.item():.0f} {rows}")
print("step", 1, os.environ["EPOCHS"], flush=True)
dist.destroy_process_group()
"""


def operator(folder: Path, variant: Variant) -> Operator:
    return Operator(folder, list(yaml.safe_load_all(made(folder, variant).text)))


def said_by_pod(pods: Operator, name: str) -> list[str]:
    return [r.text for r in pods.records(name) if isinstance(r, Event) and r.source == "pod"]


def steps_of(pods: Operator, name: str) -> list[int]:
    return [record.step for record in pods.records(name) if isinstance(record, Sample)]


def has_checkpoint(pods: Operator, name: str) -> bool:
    return any(isinstance(record, Event) and record.kind == "checkpoint" for record in pods.records(name))


def test_a_script_of_a_pytorchjob_finds_its_group_its_data_and_where_to_write(tmp_path: Path) -> None:
    toml = (
        '[defaults]\nenv = {EPOCHS = "3"}\n\n[[hosts]]\nname = "node"\nnodes = 2\n\n[data]\npush = "data"\n\n'
        '[run]\nscript = "all_reduce.py"\n\n[kubernetes]\nworkspace = "1Gi"\n'
    )
    (tmp_path / "all_reduce.py").write_text(SCRIPT)
    with operator(tmp_path, Variant("pytorchjob", f"port = {free_pair()}\n{toml}")) as pods:
        for number in range(2):
            name = f"node-{number}"
            pods.start_pod(name, number, 0, RANK=str(number), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT="1")
        assert [pods.code(f"node-{number}") for number in range(2)] == [0, 0], pods.log("node-0").read_text()
        for number in range(2):
            assert (tmp_path / f"node-{number}" / "night" / f"rank_{number}").read_text() == "2 1"
        assert "step 1 3" in pods.log("node-1").read_text()


@pytest.mark.long
@pytest.mark.parametrize("how", [pytest.param("evicted", marks=pytest.mark.longest), "killed"])
def test_when_the_pod_that_leads_goes_all_begin_again_from_its_last_checkpoint(how: str, tmp_path: Path) -> None:
    """One that is evicted writes a checkpoint at its last step; one that is killed has one of every fourth."""
    toml = (
        '[[hosts]]\nname = "large"\n\n[[hosts]]\nname = "small"\nnodes = 2\ncpus = 1\n\n'
        "[run]\nsteps = 1000\nglobal_batch = 24\neval_every = 0\ncheckpoint_steps = 4\n\n[elastic]\nhold_s = 10\n"
    )
    places = {"large": (0, 0), "small-0": (1, 0), "small-1": (1, 1)}
    with operator(tmp_path, Variant("jobset", f"port = {free_pair()}\n{toml}")) as pods:
        for name, place in places.items():
            pods.start_pod(name, *place)
        deadline = time.monotonic() + BOUND_S
        while max(steps_of(pods, "large"), default=0) < 5 or not has_checkpoint(pods, "large"):
            assert time.monotonic() < deadline, pods.log("large").read_text()
            time.sleep(0.2)
        if how == "evicted":
            pods.evict("large")
        else:
            pods.kill("large")
        assert pods.code("large") == (143 if how == "evicted" else -9)
        assert min(pods.code("small-0"), pods.code("small-1")) >= 128, pods.log("small-0").read_text()[-3000:]
        before = steps_of(pods, "large")
        for name, place in places.items():
            pods.start_pod(name, *place)
        assert [pods.code(name) for name in places] == [0, 0, 0], pods.log("large").read_text()[-3000:]
        goes_on = "goes on from the newest checkpoint of the earlier attempt 'night.1': large/"
        assert any(text.startswith(goes_on) for text in said_by_pod(pods, "large")), said_by_pod(pods, "large")
        after = steps_of(pods, "large")[len(before) :]
        assert before == list(range(1, len(before) + 1))
        assert after == list(range(after[0], 1001))
        if how == "evicted":
            assert after[0] == len(before) + 1
        else:  # what it has done and what it has told of need not be the same
            assert after[0] > 4
            assert after[0] % 4 == 1
