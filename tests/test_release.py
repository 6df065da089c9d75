"""A release in an empty environment, installed as the README says: light, then with what trains, to the end of a run.

pip fetches from its package index what Motley needs. `release and not long` is the short form: one environment.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.absent import not_here
from tests.support.building import ROOT, build, by_way_of_sdist
from tests.support.ports import free_pair

pytestmark = pytest.mark.release

README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = ("console", "motley", "profiles", "remote", "trainer")
INSTALL_S, RUN_S = 900, 600
ELSEWHERE = "a run on hosts that have torch"
Said = subprocess.CompletedProcess[str]

TWO_DEMO_HOSTS = '[cluster]\nconnect = "demo"\n[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n'
SCRIPT = """
import console.window
import profiles
import remote
import torch
import torch.distributed as dist
import trainer

assert [console.window.MINE, profiles.MINE, remote.MINE, trainer.MINE] == [1, 2, 3, 4]
dist.init_process_group("gloo")
ranks = torch.ones(1)
dist.all_reduce(ranks)
print(f"all {ranks.item():.0f} ranks have what is theirs", flush=True)
dist.destroy_process_group()
"""
OF_THE_USER = {
    "train.py": SCRIPT,
    "console/__init__.py": "",
    "console/window.py": "MINE = 1\n",
    "profiles/__init__.py": "MINE = 2\n",
    "remote.py": "MINE = 3\n",
    "trainer.py": "MINE = 4\n",
}


@dataclass
class Installed:
    """An environment with Motley in it, and an empty home and folder to use it in."""

    folder: Path
    constraints: Path
    light: dict[str, Said] = field(default_factory=dict)  # what was said before torch was there, by command

    def __post_init__(self) -> None:
        for name in ("home", "empty"):
            (self.folder / name).mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", self.bin.parent], check=True, timeout=INSTALL_S)

    @property
    def bin(self) -> Path:
        return self.folder / "environment/bin"

    @property
    def demo(self) -> Path:
        """The folder with nothing but the cluster.toml of the repository."""
        shutil.copy(ROOT / "cluster.toml", self.folder / "empty")
        return self.folder / "empty"

    def pip(self, *words: str) -> Said:
        argv = [str(self.bin / "python"), "-m", "pip", *words]
        return subprocess.run(
            argv, cwd=self.folder, env=_environment(), capture_output=True, text=True, timeout=INSTALL_S, check=False
        )

    def install(self, *what: str) -> None:
        """Within the versions of the lock."""
        done = self.pip("install", "--no-input", "-c", str(self.constraints), *what)
        assert done.returncode == 0, done.stderr

    def motley(self, *words: str, folder: Path | None = None) -> Said:
        environment = {**_environment(), "HOME": str(self.folder / "home")}
        argv, place = [str(self.bin / "motley"), *words], folder or self.folder / "empty"
        return subprocess.run(
            argv, cwd=place, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
        )

    def site_packages(self) -> Path:
        (found,) = self.bin.parent.glob("lib/python*/site-packages")
        return found


def _environment() -> dict[str, str]:
    """Without what would lead a Python there to the packages of this one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module", name="constraints")
def _constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the README has it made from the lock: pip takes no hashes where a file of ours is without."""
    (command,) = re.findall(r"^(grep .*requirements\.lock.*) >constraints\.txt$", README, re.MULTILINE)
    made = subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folder = tmp_path_factory.mktemp("constraints")
    (folder / "constraints.txt").write_text(made, encoding="utf-8")
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "1", "--timeout", "15"]
    tried = subprocess.run(
        [*argv, "-d", str(folder), "pathspec"], capture_output=True, text=True, check=False, timeout=INSTALL_S
    )
    if tried.returncode != 0:
        not_here(f"pip gets nothing from its package index here: {tried.stderr.strip().splitlines()[-1]}")
    return folder / "constraints.txt"


@pytest.fixture(scope="module", name="wheel")
def _wheel(tmp_path_factory: pytest.TempPathFactory, constraints: Path) -> Installed:
    """The light installation, asked this and that; then what its check says is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    installed = Installed(folder, constraints)
    installed.install(str(build(ROOT, "wheel", folder / "dist")))
    commands = ("--version", "--help", "check --json", "run --plain")
    installed.light = {words: installed.motley(*words.split(), folder=installed.demo) for words in commands}
    installed.light[ELSEWHERE] = installed.motley(*_whole_run(), folder=_elsewhere(folder))
    installed.light["pip freeze"] = installed.pip("freeze")
    *command, what = shlex.split(_torch_missing(installed)[0]["remedy"].removeprefix("Install it: "))
    assert command == [str(installed.bin / "python"), "-m", "pip", "install"]
    installed.install(what)
    return installed


@pytest.fixture(scope="module", name="from_sdist")
def _from_sdist(tmp_path_factory: pytest.TempPathFactory, constraints: Path) -> Installed:
    folder = tmp_path_factory.mktemp("from_sdist")
    installed = Installed(folder, constraints)
    installed.install(f"{by_way_of_sdist(folder)}[train]")
    return installed


def test_the_light_one_has_no_torch_and_answers(wheel: Installed) -> None:
    names = {line.partition("==")[0] for line in wheel.light["pip freeze"].stdout.splitlines()}
    assert {"textual", "asyncssh"} <= names
    assert not {"torch", "numpy"} & names
    assert re.fullmatch(r"(motley )?\d+\.\d+\.\d+\n", wheel.light["--version"].stdout)
    assert "Usage" in wheel.light["--help"].stdout
    assert [wheel.light[words].returncode for words in ("--version", "--help")] == [0, 0]


def test_the_light_one_says_what_demo_hosts_need(wheel: Installed) -> None:
    assert not json.loads(wheel.light["check --json"].stdout)["ok"]
    found = _torch_missing(wheel)
    assert [one["host"] for one in found] == ["desktop", "workstation", "laptop", "cpu-box"]
    assert {one["level"] for one in found} == {"error"}
    needed = "pip install 'motley-cluster[train]'"
    assert all(needed in one["remedy"] for one in found)
    assert wheel.light["run --plain"].stderr.count(needed) == 1
    assert [wheel.light[words].returncode for words in ("check --json", "run --plain")] == [3, 3]


def test_the_light_one_trains_on_hosts_that_have_torch(wheel: Installed) -> None:
    done = wheel.light[ELSEWHERE]
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"


def test_what_it_says_is_enough_and_a_user_s_files_may_be_called_as_ours(wheel: Installed, tmp_path: Path) -> None:
    for name, text in OF_THE_USER.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "cluster.toml").write_text(f'{TWO_DEMO_HOSTS}[run]\nscript = "train.py"\n', encoding="utf-8")
    assert _run(wheel, tmp_path)["state"] == "finished"
    logs = list(tmp_path.glob("experiments/*/logs/rank_*.log"))
    assert len(logs) == 2
    assert all("all 2 ranks have what is theirs" in log.read_text(encoding="utf-8") for log in logs)


@pytest.mark.long
@pytest.mark.parametrize("way", ["wheel", "from_sdist"])
def test_the_demo_runs_to_its_end_from_an_empty_folder(way: str, request: pytest.FixtureRequest) -> None:
    installed: Installed = request.getfixturevalue(way)
    summary = _run(installed, installed.demo)
    assert summary["state"] == "finished"
    assert summary["eval"]["accuracy"] > 0.9


@pytest.mark.parametrize("way", ["wheel", pytest.param("from_sdist", marks=pytest.mark.long)])
def test_site_packages_has_one_package_of_ours(way: str, request: pytest.FixtureRequest) -> None:
    installed: Installed = request.getfixturevalue(way)
    here = installed.site_packages()
    assert [name for name in OURS if (here / name).exists() or (here / f"{name}.py").exists()] == ["motley"]
    (record,) = here.glob("motley_cluster-*.dist-info/RECORD")
    files = [line.split(",")[0] for line in record.read_text(encoding="utf-8").splitlines()]
    assert {name.partition("/")[0] for name in files if not name.startswith("../")} == {"motley", record.parent.name}
    assert [name for name in files if name.startswith("../")] == ["../../../bin/motley"]


def _torch_missing(installed: Installed) -> list[dict[str, str]]:
    """What the light one's check found. The demo's port may be taken on this machine: that is no news here."""
    findings: list[dict[str, str]] = json.loads(installed.light["check --json"].stdout)["findings"]
    return [one for one in findings if one["check"] == "torch"]


def _whole_run() -> tuple[str, ...]:
    return ("run", "--plain", "--set", f"cluster.port={free_pair()}")


def _elsewhere(folder: Path) -> Path:
    """A folder with a cluster whose hosts have another Python than the console: that of the tests, which has torch."""
    made = folder / "elsewhere"
    made.mkdir()
    text = f'[run]\ntask = "simple_cnn/digits"\nsteps = 3\n[defaults]\npython = "{sys.executable}"\n{TWO_DEMO_HOSTS}'
    (made / "cluster.toml").write_text(text, encoding="utf-8")
    return made


def _run(installed: Installed, folder: Path) -> dict[str, Any]:
    """A whole run there, on ports that are free on this machine; its summary."""
    done = installed.motley(*_whole_run(), folder=folder)
    if done.returncode != 0:  # what the ranks printed says why
        logs = sorted(folder.glob("experiments/*/logs/*.log"))
        printed = [f"{log}:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}" for log in logs]
        pytest.fail("\n".join([done.stderr, *printed]))
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary
