"""Ranks in containers of a real docker: they train, and nothing of them is left, however a run ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from remote import containers
from remote.check import preflight
from remote.cluster import load
from remote.hosts import Hosts
from remote.image_transfer import of_this_machine, send
from remote.run import Session
from tests.containers.conftest import IMAGE
from tests.containers.dockerd import TORCH, make_image, said
from tests.remote.stage import Seen, Stage
from tests.remote.test_following import kill_supervisor, trains
from trainer import container_words, processes
from trainer.folders import read_json
from trainer.spec import Container
from trainer.status import stop
from trainer.wire import Event

pytestmark = pytest.mark.containers

MINE = f'runtime = "docker"\nimage = "{IMAGE}"'
HOSTS = {"box0": MINE, "box1": MINE}
BOUND_S = 30.0


def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait for what docker and the kernel do: there is no event for it here."""
    deadline = time.monotonic() + BOUND_S
    while not true():
        assert time.monotonic() < deadline, f"not within {BOUND_S:.0f} s: {what}"
        time.sleep(0.02)


def listed() -> list[container_words.Listed]:
    code, text = said(*container_words.listing("docker")[1:])
    assert code == 0, text
    return container_words.listed(text)


def namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def contained(stage: Stage) -> list[int]:
    """Processes of the run that are in a container."""
    return [pid for pid in stage.alive() if namespace(pid) != namespace(os.getpid())]


async def launched(stage: Stage, seen: Seen, **env: str) -> Session:
    cluster = stage.cluster(hosts=HOSTS, **env)  # type: ignore[arg-type]
    session = stage.session("night", seen, cluster)
    await session.launch()
    await seen.further(10)
    return session


async def test_ranks_train_in_containers_and_a_stop_leaves_none(stage: Stage) -> None:
    session = await launched(stage, seen := Seen())
    assert sorted(found.member for found in listed()) == ["0", "1"]
    inside = contained(stage)
    assert len({namespace(pid) for pid in inside}) == 2
    assert len(inside) == 4  # a first process and a rank in each
    for pid in inside:
        words = Path(f"/proc/{pid}/environ").read_text().split("\0")
        environ = dict(word.split("=", 1) for word in words if word)
        assert environ["HOME"] == str(stage.run_folder("night", environ["MOTLEY_HOST"]).parents[3])
        assert environ.get("PATH") != os.environ["PATH"]
    began = time.monotonic()
    assert (await session.stop("enough")).unanswered == ()
    took_s = time.monotonic() - began
    await session.close()
    assert listed() == []
    assert stage.alive() == []
    assert took_s < 10
    sequences = seen.sequences()
    assert all(found == list(range(len(found))) for found in sequences.values())
    log = (stage.experiment("night") / "logs" / "rank_1.log").read_text()
    assert "step 3 red" in log
    assert {path.stat().st_uid for path in stage.run_folder("night", "box1").iterdir()} == {os.getuid()}


async def test_a_run_ends_by_itself(stage: Stage) -> None:
    session = stage.session("night", Seen(), stage.cluster(steps=30, hosts=HOSTS))
    await session.launch()
    assert (await session.wait()).state == "finished"
    await session.close()
    assert listed() == []
    assert stage.alive() == []


async def test_a_supervisor_that_is_killed_leaves_no_container(stage: Stage) -> None:
    session = await launched(stage, Seen())
    await session.close()  # else the console brings the host back
    inside = contained(stage)
    for host in HOSTS:
        kill_supervisor(stage, host)
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in inside), "the ranks have ended")
    eventually(lambda: listed() == [], "the containers are removed")
    assert stage.alive() == []


async def test_a_host_whose_supervisor_was_killed_comes_back_in_a_new_container(stage: Stage) -> None:
    session = await launched(stage, seen := Seen())
    before = {found.id for found in listed() if found.member == "1"}
    kill_supervisor(stage, "box1")
    await seen.until(trains(1, generation=2))
    after = {found.id for found in listed() if found.member == "1"}
    assert len(after) == 1
    assert not after & before
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert listed() == []
    assert stage.alive() == []


async def test_ranks_that_ignore_term_are_killed_with_what_they_started(stage: Stage) -> None:
    session = await launched(stage, Seen(), STUBBORN="1")
    assert len(contained(stage)) == 6  # each has a child in a session of its own
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert listed() == []
    assert stage.alive() == []


async def test_a_rank_that_is_killed_starts_again_in_a_new_container(stage: Stage) -> None:
    session = await launched(stage, seen := Seen())
    before = {found.id for found in listed()}
    rank = next(pid for pid in contained(stage) if _is_rank(pid, member=1))
    os.kill(rank, signal.SIGKILL)
    await seen.until(lambda record: isinstance(record, Event) and record.kind == "rank_killed")
    (told,) = (record for record in seen.records if isinstance(record, Event) and record.kind == "rank_killed")
    assert told.text.startswith("rank 1: ended by signal 9")
    await seen.until(trains(1, generation=2))
    assert len({found.id for found in listed()} - before) == 1
    assert len(listed()) == 2
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert listed() == []


async def test_a_client_that_is_killed_leaves_no_second_rank_behind(stage: Stage) -> None:
    session = await launched(stage, seen := Seen())
    (client,) = read_json(stage.run_folder("night", "box1") / "state.json")["ranks"]
    os.kill(client["pid"], signal.SIGKILL)
    await seen.until(trains(1, generation=2))
    assert sorted(found.member for found in listed()) == ["0", "1"]
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert listed() == []
    assert stage.alive() == []


async def test_a_stop_finds_containers_by_their_label_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await launched(stage, Seen())
    folder = stage.run_folder("night", "box1")
    tag = container_words.tag_of(folder)
    sleep = [
        "--entrypoint",
        "python3",
        IMAGE,
        "-c",
        "import signal; signal.signal(15, lambda *_: 0)\nwhile 1: signal.pause()",
    ]
    code, text = said("run", "--detach", "--network", "none", "--label", f"motley.tag={tag}", *sleep)
    assert code == 0, text
    code, text = said("create", "--network", "none", "--label", f"motley.tag={tag}", *sleep)
    assert code == 0, text
    code, stranger = said("run", "--detach", "--network", "none", "--label", "motley.tag=00", *sleep)
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert [found.tag for found in listed()] == ["00"]
    monkeypatch.setenv("HOME", str(folder.parents[3]))
    said("run", "--detach", "--network", "none", "--label", f"motley.tag={tag}", *sleep)
    assert stop("night", "box1", "again") == {"left": 0, "state": "stopped"}
    assert [found.tag for found in listed()] == ["00"]
    said("rm", "--force", stranger.strip())


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
        failed = await containers.prepare(hosts, lambda _: None)
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
        assert (await containers.look(hosts, lambda _: None)).without == ["box0"]
        assert await containers.prepare(hosts, lambda _: None) == {}
        inside = hosts.inside("box0")
        assert (await containers.look(hosts, lambda _: None)).without == []
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
        assert await containers.prepare(hosts, lambda _: None) == {}  # its daemon is that of this machine
    assert any(text.startswith("sending the image, ") for text in seen)
    stage.cluster(hosts={"box0": 'runtime = "docker"\nimage = "none-here"\nimage_from = "master"'})
    async with Hosts(load(stage.folder / "cluster.toml")) as hosts:
        failed = await containers.prepare(hosts, lambda _: None)
    assert "this machine has no image none-here to send" in failed["box0"].cause


def test_odd_paths_reach_the_container_as_they_are(image: str, tmp_path: Path) -> None:
    odd = tmp_path / "a,b: \"c\" 'd' $e"
    odd.mkdir()
    (odd / "file").write_text("there\n")
    here = tmp_path / "home, sweet"
    told = (
        "import os; print(open('file').read(), os.getuid(), os.environ['SAID'], sorted(os.getgroups()))\n"
        f"os.chmod(os.open({str(here / 'tool')!r}, os.O_CREAT), 0o755)\n"
        f"print(os.access({str(here / 'tool')!r}, os.X_OK), os.access('file', os.W_OK))"
    )
    argv = container_words.running(
        Container(runtime="docker", image=image, id=image),
        ["-c", told],
        user=container_words.User(uid=1234, gid=2345, groups=(7,)), home=str(here), folder=str(odd),
        mounts=[container_words.Mount(str(odd))], names=["SAID"], labels={},
    )  # fmt: skip
    os.chmod(tmp_path, 0o755)
    done = subprocess.run(argv, env={**os.environ, "SAID": "a\nb"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "there\n 1234 a\nb [7, 2345]\nTrue False\n"


def _is_rank(pid: int, *, member: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"contained" not in words and b"rank" in words and str(member).encode() in words


@pytest.mark.parametrize("host_pids", [False, True])
def test_all_of_a_container_ends_with_the_lock(image: str, tmp_path: Path, host_pids: bool) -> None:
    """Its first process is the trainer's; what that starts has a child in a session of its own, and both are deaf."""
    code = tmp_path / "code"
    (code / "trainer").mkdir(parents=True)
    for name in ("__init__.py", "contained.py", "processes.py"):
        (code / "trainer" / name).write_bytes((Path(container_words.__file__).with_name(name)).read_bytes())
    deaf = "import signal; signal.signal(15, 1)\nwhile 1: signal.pause()"
    (code / "trainer" / "__main__.py").write_text(
        "import subprocess, sys\nfrom pathlib import Path\nfrom trainer.contained import main\n"
        "if sys.argv[1] == 'contained': main(Path(sys.argv[3]), sys.argv[4:])\n"
        f"subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True)\n"
        f"print('begun', flush=True)\n{deaf}\n"
    )
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    argv = container_words.running(
        Container(runtime="docker", image=image, id=image),
        ["-m", "trainer", "contained", "--lock", str(tmp_path / "lock"), "rank"],
        user=container_words.User(uid=os.getuid(), gid=os.getgid()), home=str(tmp_path / "home"), folder=str(code),
        mounts=[container_words.Mount(str(tmp_path))], names=["MOTLEY_DIR"],
        labels={container_words.TAG: "0abc"}, host_pids=host_pids,
    )  # fmt: skip
    env = {**os.environ, "MOTLEY_DIR": str(tmp_path)}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        inside = processes.tagged(tmp_path, besides=[client.pid])
        assert len(inside) == 3
        assert (namespace(inside[0]) == namespace(os.getpid())) is host_pids
        client.kill()
        assert sorted(processes.tagged(tmp_path)) == sorted(inside)
        os.close(held)
        eventually(lambda: not processes.tagged(tmp_path), "all processes have ended")
        eventually(lambda: listed() == [], "the container is removed")
