"""`motley verify --on HOST`: a step of real ranks computed again by a demo host, which has the checkpoint or gets
it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.host.paths import run_folder
from tests.console.commands.after_run.test_report import motley
from tests.console.commands.after_run.test_verify import EXACT, a_run
from tests.support.ports import free_pair
from tests.trainer.trained import NIGHT, damage, spec_of

pytestmark = pytest.mark.ranks
AWAY = '[[hosts]]\nname = "away"\naddress = "127.0.0.1"\nport = 1\nconnect = "ssh"\nuser = "ada"\n'
OWN = NIGHT.replace('print("a greeting")', 'print("a greeting", flush=True)')


class Desk:
    """A folder with a cluster.toml of two demo hosts, and one that is away; it is the home folder as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "experiments/honest"
        text = f'[cluster]\nname = "desk"\nconnect = "demo"\nport = {free_pair()}\n'
        hosts = "".join(f'[[hosts]]\nname = "box{number}"\n' for number in range(2))
        (folder / "cluster.toml").write_text(text + hosts + AWAY)

    def verify(self, *words: str) -> Any:
        return motley(self.folder, "verify", "honest", "--step", "7", *words)

    def home(self, host: str) -> Path:
        (demo,) = (self.folder / ".motley/demo").iterdir()
        return demo / host

    def took_part(self, host: str, **changed: Any) -> Path:
        """The host keeps the run and what it wrote, the checkpoints here are gone."""
        folder = run_folder("honest", host, self.home(host))
        folder.mkdir(parents=True)
        spec = dataclasses.replace(spec_of("honest", host), options=EXACT, **changed)
        (folder / "spec.json").write_text(spec.to_json())
        shutil.move(self.run / "checkpoints", folder / "checkpoints")
        return folder

    def left(self, host: str) -> list[str]:
        return [path.name for path in (self.home(host) / ".motley/trials").iterdir()]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("ranks") / "honest", EXACT)


@pytest.fixture
def desk(tmp_path: Path, honest: Path) -> Desk:
    shutil.copytree(honest, tmp_path / "experiments/honest")
    return Desk(tmp_path)


@pytest.mark.long
def test_a_host_gets_the_checkpoint_and_one_that_took_part_has_it(desk: Desk) -> None:
    done = desk.verify("--on", "box0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["agrees"], found["host"], found["checkpoint"]) == (True, "box0", "step_6.pt")
    assert max(found["loss_off"], found["gradient_off"], found["norms_off"]) < 1e-5
    assert not (desk.home("box0") / ".motley/runs").exists()  # nothing of the run stays there
    assert desk.left("box0") == []

    folder = desk.took_part("box0")
    done = desk.verify("--on", "box0")
    assert done.returncode == 0, done.stderr
    assert "from step_6.pt, 96 samples in the run's order" in done.stdout
    assert " on box0\n" in done.stdout
    assert "step 7 of 'honest' is what one machine computes" in done.stdout

    damage(folder / "checkpoints/step_6.pt")
    done = desk.verify("--on", "box0")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "no host has the checkpoint as the run wrote it (away did not answer); and the checkpoint before step 7 is not"
        in done.stderr
    )


def test_an_altered_gradient_is_found_on_a_host_too(tmp_path: Path) -> None:
    a_run(tmp_path / "experiments/honest", EXACT, alters=1e-3)
    done = Desk(tmp_path).verify("--on", "box1", "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert not found["agrees"]
    assert 1e-4 < found["gradient_off"] < 3e-3


@pytest.mark.long
def test_what_a_host_can_not_do_is_told_with_what_to_do(desk: Desk) -> None:
    unknown = desk.verify("--on", "box7")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no host box7; the hosts are box0, box1, away" in unknown.stderr
    away = desk.verify("--on", "away")
    assert (away.returncode, away.stdout) == (3, "")
    assert "away" in away.stderr
    assert "nothing listens on port 1 of 127.0.0.1. Correct port in cluster.toml" in away.stderr
    both = desk.verify("--on", "box0", "--python", sys.executable)
    assert both.returncode == 2
    assert "--python is one of this machine" in both.stderr
    assert desk.verify("--on", "box0", "--data", "/nowhere").returncode == 0  # digits come with Motley

    bare = desk.folder / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o700)
    desk.took_part("box0", python=str(bare))
    lacking = desk.verify("--on", "box0")
    assert (lacking.returncode, lacking.stdout) == (3, "")
    assert "box0: " in lacking.stderr
    assert "can't import torch" in lacking.stderr


@pytest.mark.longest
def test_of_a_task_of_the_user_s_own_a_host_that_took_part_has_the_files(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = (tmp_path / "cluster.toml").read_text().replace(AWAY, "")
    run = '[run]\ntask = "night.py"\nglobal_batch = 5\nsteps = 6\nkeep_checkpoints = 9\n'
    (tmp_path / "cluster.toml").write_text(f"{text}{run}")
    (tmp_path / "night.py").write_text(OWN)
    done = motley(tmp_path, "run", "--plain", "--name", "honest")
    assert done.returncode == 0, done.stderr
    told = Spec.from_json((run_folder("honest", "box0", desk.home("box0")) / "spec.json").read_bytes())
    assert told.own_task is not None
    here = motley(tmp_path, "verify", "honest", "--step", "3")
    assert here.returncode == 2
    assert "night.py is a task of your own" in here.stderr
    assert "--on HOST" in here.stderr
    (tmp_path / "night.py").write_text(OWN.replace("/ 1", "/ 2").replace("% 2", "% 3"))  # it went on being worked at
    for host in ("box0", "box1"):  # the second has no checkpoint of its own
        there = motley(tmp_path, "verify", "honest", "--step", "3", "--on", host, "--json")
        assert there.returncode == 0, there.stderr
        found = json.loads(there.stdout)
        assert found["agrees"], found
        assert (found["host"], found["checkpoint"]) == (host, "epoch_1.pt")
        assert found["gradient_off"] < 1e-5
