"""Ranks in containers of a real docker: they train, and nothing of them is left, however a run ends."""

from __future__ import annotations

import fcntl
import inspect
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.remote.session.session import Session
from motley.trainer.contract.spec import Container
from motley.trainer.contract.wire import Event
from motley.trainer.host import processes
from motley.trainer.host.paths import read_json
from motley.trainer.supervisor import container_commands, container_init
from motley.trainer.verbs.stop import stop
from tests.containers.conftest import IMAGE
from tests.containers.dockerd import said
from tests.remote.session.test_follow_run import kill_supervisor, trains
from tests.remote.stage import Seen, Stage

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


def listed() -> list[container_commands.Listed]:
    code, text = said(*container_commands.listing("docker")[1:])
    assert code == 0, text
    return container_commands.listed(text)


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
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert listed() == []
    assert stage.alive() == []
    sequences = seen.sequences()
    assert all(found == list(range(len(found))) for found in sequences.values())
    log = (stage.experiment("night") / "logs" / "rank_1.log").read_text()
    assert "step 3 red" in log
    assert {path.stat().st_uid for path in stage.run_folder("night", "box1").iterdir()} == {os.getuid()}


async def test_a_stop_before_anything_has_begun_leaves_none(stage: Stage) -> None:
    session = stage.session("night", Seen(), stage.cluster(hosts=HOSTS))
    await session.launch()
    assert (await session.stop("at once")).unanswered == ()
    await session.close()
    assert listed() == []
    assert stage.alive() == []
    time.sleep(1.0)  # for one that was being made
    assert listed() == []


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
    tag = container_commands.tag_of(folder)
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


def _is_rank(pid: int, *, member: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"contained" not in words and b"rank" in words and str(member).encode() in words


@pytest.mark.parametrize("host_pids", [False, True])
def test_all_of_a_container_ends_with_the_lock(image: str, tmp_path: Path, host_pids: bool) -> None:
    """Its first process is the trainer's; what that starts has a child in a session of its own, and both are deaf."""
    code = tmp_path / "code"
    for package in ("", "trainer", "trainer/host", "trainer/supervisor"):
        (code / "motley" / package).mkdir(parents=True)
        (code / "motley" / package / "__init__.py").touch()
    for module in (container_init, processes):
        (code / f"{module.__name__.replace('.', '/')}.py").write_bytes(Path(inspect.getfile(module)).read_bytes())
    deaf = "import signal; signal.signal(15, 1)\nwhile 1: signal.pause()"
    (code / "motley/trainer" / "__main__.py").write_text(
        "import subprocess, sys\nfrom pathlib import Path\nfrom motley.trainer.supervisor.container_init import main\n"
        "if sys.argv[1] == 'contained': main(Path(sys.argv[3]), sys.argv[4:])\n"
        f"subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True)\n"
        f"print('begun', flush=True)\n{deaf}\n"
    )
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    argv = container_commands.running(
        Container(runtime="docker", image=image, id=image),
        ["-m", "motley.trainer", "contained", "--lock", str(tmp_path / "lock"), "rank"],
        user=container_commands.User(uid=os.getuid(), gid=os.getgid()), home="/home/ada", folder=str(code),
        mounts=[container_commands.Mount(str(tmp_path))], names=["MOTLEY_DIR"],
        labels={container_commands.TAG: "0abc"}, host_pids=host_pids,
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
