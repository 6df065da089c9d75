"""Environments on demo hosts, installed offline from a wheel that the test makes."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import CommandFailed, ConfigError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts, python_of
from motley.remote.launch.prepare_hosts import looked_over, preflight
from motley.remote.provision import virtualenv
from motley.trainer.bootstrap.virtualenv import DONE
from motley.trainer.verbs import clean
from tests.remote.conftest import MakeCluster
from tests.remote.session.test_follow_run import kill_supervisor, trains
from tests.remote.stage import HOSTS, Seen, Stage
from tests.support.ports import free_pair

SAYS = "print(__import__('motley_tiny').WORD)"


def make_wheel(folder: Path, word: str, version: str = "1.0", requires: str = "") -> Path:
    """A package of one module, as pip installs it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"motley_tiny-{version}-py3-none-any.whl"
    info = f"motley_tiny-{version}.dist-info"
    files = {
        "motley_tiny.py": f"WORD = {word!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: motley-tiny\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for name, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


@pytest.fixture
def cluster(make_cluster: MakeCluster, tmp_path: Path) -> Cluster:
    """One host that has the package in its environment, one that has no environment."""
    make_wheel(tmp_path / "wheels", "hello")
    (tmp_path / "requirements.txt").write_text("motley-tiny==1.0\n")
    return make_cluster(
        '[cluster]\nname = "demo"\nconnect = "demo"\n'
        '[environment]\nrequirements = "requirements.txt"\nwheels = "wheels"\n'
        '[[hosts]]\nname = "box"\n[[hosts]]\nname = "bare"\nrequirements = ""\n'
    )


def envs(home: Path, host: str = "box") -> list[Path]:
    (box,) = (home / ".motley" / "demo").glob(f"demo-*/{host}")
    return sorted((box / ".motley" / "env").glob("*"))


async def says(hosts: Hosts, host: str = "box") -> str:
    """What the host's Python, as the run would start it, finds in the package."""
    connection = await hosts.get(host)
    done = await connection.run([python_of(hosts.named(host)), "-c", SAYS], timeout_s=20)
    return done.stdout.decode().strip() or done.stderr.splitlines()[-1]


def test_requirements_that_name_other_files_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# mine\n-r base.txt\n")
    with pytest.raises(ConfigError, match=r"requirements\.txt:2 names another file"):
        virtualenv.read(cluster, cluster.hosts)
    (tmp_path / "requirements.txt").unlink()
    with pytest.raises(ConfigError, match=r"can't be read"):
        virtualenv.read(cluster, cluster.hosts)


async def test_made_once_with_what_the_host_s_own_python_has_reused_and_never_half_built(
    cluster: Cluster, home: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    async with Hosts(cluster) as hosts:
        assert await virtualenv.prepare(hosts, seen.append) == {}
        assert await says(hosts) == "hello"
        assert "No module named 'motley_tiny'" in await says(hosts, "bare")
        python = python_of(hosts.named("box"))
        own = await (await hosts.get("box")).run([python, "-c", "import pytest"], timeout_s=20)
        assert own.code == 0, own.stderr  # the console's own Python is itself that of an environment
    (made,) = envs(home)
    assert python == str(made / "bin" / "python")
    told = [record.text for record in seen if record.host == "box"]
    assert "making a virtual environment" in told
    assert any(text.startswith("Processing ") for text in told)
    assert any("sending the wheels" in text for text in told)
    before = (made / DONE).stat().st_mtime_ns
    async with Hosts(cluster) as hosts:
        assert (await virtualenv.look(hosts, seen.append)).without == []
        assert await virtualenv.prepare(hosts, seen.append) == {}
        assert await says(hosts) == "hello"
    assert ((made / DONE).stat().st_mtime_ns, seen[-1].text) == (before, "has the environment already")
    (made / DONE).unlink()  # as it is when pip was broken off
    (made / "left").write_text("half-built")
    async with Hosts(cluster) as hosts:
        assert (await virtualenv.look(hosts, seen.append)).without == ["box"]
        assert await virtualenv.prepare(hosts, seen.append) == {}
    assert envs(home) == [made]
    assert not (made / "left").exists()
    make_wheel(tmp_path / "wheels", "bye", "2.0")
    async with Hosts(cluster) as hosts:
        assert (await virtualenv.look(hosts, seen.append)).without == [
            "box"
        ]  # another one, though nobody asks for it yet


async def test_what_pip_says_is_shown_and_nothing_is_used(cluster: Cluster, home: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("motley-tiny==3.0\n")
    seen: list[Progress] = []
    async with Hosts(cluster) as hosts:
        failed = await virtualenv.prepare(hosts, seen.append)
        assert "No module named" in await says(hosts)
    assert list(failed) == ["box"]
    assert isinstance(failed["box"], CommandFailed)
    async with Hosts(load(cluster.path, ["hosts.box.python=/opt/none/python"])) as hosts:
        missing = await virtualenv.prepare(hosts, seen.append)
        assert "the Python '/opt/none/python' is not there" in missing["box"].cause
    assert "pip could not install requirements" in failed["box"].cause
    assert "No matching distribution found for motley-tiny==3.0" in failed["box"].cause
    assert "the folder of wheels" in failed["box"].remedy
    assert any(record.failed and record.text.startswith("ERROR: No matching") for record in seen)
    assert not any((folder / DONE).exists() for folder in envs(home))


async def test_a_check_makes_nothing_and_does_not_miss_what_it_may_bring(cluster: Cluster, home: Path) -> None:
    findings = await preflight(cluster, lambda _: None)
    assert [(f.host, f.check, f.level) for f in findings if f.check in ("environment", "torch")] == [
        ("box", "environment", "warning")
    ]
    assert not any(path.name == "env" for path in home.rglob("env"))


async def test_none_is_made_while_a_host_can_not_be_reached(cluster: Cluster, home: Path) -> None:
    gone = f'[[hosts]]\nname = "gone"\nconnect = "ssh"\naddress = "127.0.0.1"\nport = {free_pair()}\n'
    cluster.path.write_text(cluster.path.read_text() + gone)
    async with Hosts(load(cluster.path)) as hosts:
        found = (await looked_over(hosts, lambda _: None)).checked.findings
    told = [(f.host, f.check) for f in found if f.check in ("environment", "reachable", "torch")]
    assert told == [("box", "environment"), ("gone", "reachable")]
    assert not any(path.name == "env" for path in home.rglob("env"))


async def test_all_of_a_run_runs_in_it_and_so_does_what_comes_back(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# what the host has will do\n")
    cluster = stage.cluster(hosts={**HOSTS, "box1": 'requirements = "none.txt"'})
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(5)
    home = stage.run_folder("night", "box1").parents[3]
    (env,) = (home / ".motley" / "env").iterdir()
    assert _programs(stage, "box1") == {str(env / "bin" / "python")}
    assert _programs(stage, "box0") != _programs(stage, "box1")
    assert clean._why_used(env, clean._places_in_use(), "") == "a process uses it"
    kill_supervisor(stage, "box1")
    await seen.until(trains(1, generation=2))
    assert _programs(stage, "box1") == {str(env / "bin" / "python")}
    await session.stop("enough")
    await session.close()
    assert clean._why_used(env, clean._places_in_use(), "") == ""


def _programs(stage: Stage, host: str) -> set[str]:
    """What the processes of a host were started as."""
    folder = b"MOTLEY_DIR=" + str(stage.run_folder("night", host)).encode()
    return {
        Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        for pid in stage.alive()
        if folder in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    }
