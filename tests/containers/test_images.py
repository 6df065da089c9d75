"""Images of a real docker: pulled, built and sent to a host, and looked into; and what a container sees of its host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.calibrate import calibrate
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.provision import container_images
from motley.remote.provision.image_transfer import of_this_machine, send
from motley.remote.provision.push_code import Tree
from motley.trainer.contract.spec import Container
from motley.trainer.contract.wire import Event
from motley.trainer.supervisor import container_commands
from tests.containers.conftest import IMAGE
from tests.containers.dockerd import TORCH, make_image, said
from tests.containers.test_docker import MINE, listed
from tests.remote.stage import Seen, Stage

pytestmark = pytest.mark.containers


async def test_what_is_wrong_with_an_image_is_said_and_nothing_is_started(stage: Stage, tmp_path: Path) -> None:
    make_image(tmp_path, "motley-bare", python=False)
    make_image(tmp_path, "motley-no-torch", torch=False)
    lines = {
        "fine": MINE,
        "bare": 'runtime = "docker"\nimage = "motley-bare"',
        "without": 'runtime = "docker"\nimage = "motley-no-torch"',
        "absent": 'runtime = "docker"\nimage = "localhost:9/none"',
    }
    cluster = stage.cluster(hosts=lines)
    findings = await preflight(cluster, lambda _: None)
    told = [(f.host, f.check, f.level, f.cause) for f in findings if f.check in ("container", "torch")]
    assert told == [
        ("bare", "container", "error", "the image motley-bare has no python3"),
        ("without", "torch", "error", "python3 in its image has no torch"),
        ("absent", "container", "warning", "its image is not there yet; whether torch is in it is not known"),
    ]
    async with Hosts(cluster) as hosts:
        failed = await container_images.prepare(hosts, lambda _: None)
        inside = hosts.inside("fine")
    assert list(failed) == ["bare", "absent"]
    assert "the image localhost:9/none is not there and can't be pulled: " in failed["absent"].cause
    assert inside is not None
    assert inside.torch == TORCH
    said("image", "rm", "motley-bare", "motley-no-torch")


async def test_a_host_builds_its_image(stage: Stage) -> None:
    (stage.folder / "Dockerfile").write_text(
        "ARG BASE=none\nFROM ${BASE}\nCOPY requirements.txt /requirements.txt\nENV MADE=here\n"
    )
    (stage.folder / "r.txt").write_text("# nothing\n")
    stage.cluster(hosts={"box0": f'{MINE}\ndockerfile = "Dockerfile"\nrequirements = "r.txt"'})
    cluster = load(stage.folder / "cluster.toml")
    async with Hosts(cluster) as hosts:
        assert (await container_images.look(hosts, lambda _: None)).without == ["box0"]
        assert await container_images.prepare(hosts, lambda _: None) == {}
        inside = hosts.inside("box0")
        assert (await container_images.look(hosts, lambda _: None)).without == []
    assert inside is not None
    assert inside.torch == TORCH
    assert said("image", "inspect", "--format", "{{json .Config.Env}}", inside.container.id)[1].find("MADE=here") > 0
    said("image", "rm", inside.container.id)


async def test_the_image_of_this_machine_is_sent(stage: Stage) -> None:
    cluster = stage.cluster(hosts={"box0": f'{MINE}\nimage_from = "master"'})
    seen: list[str] = []
    async with Hosts(cluster) as hosts:
        connection = await hosts.get("box0")
        mine = await of_this_machine("box0", "docker", IMAGE)
        await send(connection, "docker", IMAGE, mine, lambda record: seen.append(record.text))
        assert await container_images.prepare(hosts, lambda _: None) == {}  # its daemon is that of this machine
    assert any(text.startswith("sending the image, ") for text in seen)
    stage.cluster(hosts={"box0": 'runtime = "docker"\nimage = "none-here"\nimage_from = "master"'})
    async with Hosts(load(stage.folder / "cluster.toml")) as hosts:
        failed = await container_images.prepare(hosts, lambda _: None)
    assert "this machine has no image none-here to send" in failed["box0"].cause


async def test_a_task_is_trained_with_the_torch_of_the_image(torch_image: str, tmp_path: Path, home: Path) -> None:
    stage = Stage(tmp_path, home, Tree.installed())
    mine = f'runtime = "docker"\nimage = "{torch_image}"'
    session = stage.session("night", seen := Seen(), stage.cluster(steps=12, hosts={"box0": mine, "box1": mine}))
    await session.launch()
    ended = await session.wait()
    await session.close()
    await stage.clear()
    assert ended.state == "finished", [record for record in seen.records if isinstance(record, Event)]
    assert ended.summary["steps"] == 12
    assert sorted(seen.last_steps().values()) == [12, 12]
    assert (stage.experiment("night") / "checkpoints" / "final.pt").exists()
    assert listed() == []


async def test_devices_are_measured_in_the_image(torch_image: str, tmp_path: Path, home: Path) -> None:
    stage = Stage(tmp_path, home, Tree.installed())
    cluster = stage.cluster(hosts={"box0": f'runtime = "docker"\nimage = "{torch_image}"'})
    async with Hosts(cluster) as hosts:
        found = await calibrate(hosts, lambda _: None)
    assert found.findings == ()
    (measured,) = found.measured
    assert measured.result["parameters"] > 0
    assert len(measured.result["timings"]) >= 2
    assert listed() == []


async def test_a_script_runs_in_the_image(stage: Stage) -> None:
    (stage.folder / "train.py").write_text(
        "import os, pathlib, sys\n"
        "print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], sys.executable, flush=True)\n"
        "pathlib.Path(os.environ['MOTLEY_DIR'], 'made').write_text(os.environ['GIVEN'])\n"
    )
    (stage.folder / "cluster.toml").write_text(
        f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {stage.port}\n[run]\nscript = "train.py"\n'
        f'[environment]\n{MINE}\n[defaults.env]\nGIVEN = "a b"\n[[hosts]]\nname = "box0"\n[[hosts]]\nname = "box1"\n'
    )
    session = stage.session("night", Seen())
    await session.launch()
    assert (await session.wait()).state == "finished"
    await session.close()
    for rank, host in enumerate(("box0", "box1")):
        log = (stage.experiment("night") / "logs" / f"rank_{rank}.log").read_text()
        assert f"rank {rank} of 2 /usr/local/bin/python3" in log
        assert (stage.run_folder("night", host) / "made").read_text() == "a b"
    assert listed() == []
    assert stage.alive() == []


def test_odd_paths_reach_the_container_as_they_are(image: str, tmp_path: Path) -> None:
    odd = tmp_path / "a,b: \"c\" 'd' $e"
    odd.mkdir()
    (odd / "file").write_text("there\n")
    here = tmp_path / "home, sweet"
    told = (
        "import os; print(open('file').read(), os.getuid(), os.environ['SAID'], 7 in os.getgroups())\n"
        f"os.chmod(os.open({str(here / 'tool')!r}, os.O_CREAT), 0o755)\n"
        f"print(os.access({str(here / 'tool')!r}, os.X_OK), os.access('file', os.W_OK))"
    )
    argv = container_commands.running(
        Container(runtime="docker", image=image, id=image),
        ["-c", told],
        user=container_commands.User(uid=1234, gid=2345, groups=(7,)), home=str(here), folder=str(odd),
        mounts=[container_commands.Mount(str(odd))], names=["SAID"], labels={},
    )  # fmt: skip
    os.chmod(tmp_path, 0o755)
    done = subprocess.run(argv, env={**os.environ, "SAID": "a\nb"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "there\n 1234 a\nb True\nTrue False\n"
