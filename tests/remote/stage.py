"""A stage for whole runs on demo hosts: real trainer code, but ranks that train nothing and import no torch.

    stage = Stage(tmp_path, home, tree)
    seen = Seen()
    session = stage.session("night", seen)
    await session.launch()
    await seen.until(lambda record: isinstance(record, Sample) and record.step == 20)

tests/remote/conftest.py gives one as the fixture `stage`; it ends every process that a test leaves.
"""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import MotleyError
from motley.remote.feed import FeedRecord
from motley.remote.provision.push_code import Tree
from motley.remote.session.session import Session
from motley.remote.ssh.demo_hosts import DemoHosts
from motley.trainer.contract.wire import Sample
from tests.support.ports import free_pair

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0  # for a record that a test waits for
HANGS_S = 300.0  # after which a test is ended
FOREVER = 1_000_000  # steps
HOSTS = {"box0": "", "box1": ""}
STORE = "import sys; from motley.trainer.bootstrap.unpack_tree import main; main(sys.argv[1:], sys.stdin.buffer)"


def copy_of_ours(root: Path) -> None:
    """What a host gets of ours, to be changed."""
    for file in Tree.installed().files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)


def stand_in_tree(root: Path) -> Tree:
    """The trainer as it is, with the stand-in for its ranks."""
    copy_of_ours(root)
    stand_in = root / "motley/trainer/rank/task_rank.py"
    assert stand_in.is_file()  # else it would lie beside what it stands in for, and torch would train
    shutil.copy(Path(__file__).with_name("stand_in_rank.py"), stand_in)
    return Tree.of(root)


def held(tree: Tree, home: Path) -> Path:
    """The tree as a host with that home has it after earlier runs: sent, and compiled."""
    subprocess.run(
        [sys.executable, "-c", STORE, tree.hash], input=b"{}\n" + tree.pack(), cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL, env={**os.environ, "HOME": str(home)},
    )  # fmt: skip
    assert compileall.compile_dir(home / tree.folder, quiet=1)
    return home / tree.folder


def put(path: Path, text: str) -> None:
    """The file holds this from now on, and what other homes have of it does not."""
    path.unlink()
    path.write_text(text)


class Seen:
    """What a session told, and waiting for it."""

    def __init__(self) -> None:
        self.records: list[FeedRecord] = []
        self._waited = 0  # records up to the one that was waited for last
        self._awaited: list[tuple[Callable[[FeedRecord], bool], asyncio.Future[int]]] = []

    def __call__(self, record: FeedRecord) -> None:
        self.records.append(record)
        for wanted, future in self._awaited:
            if not future.done() and wanted(record):
                future.set_result(len(self.records))

    async def until(self, wanted: Callable[[FeedRecord], bool], within_s: float = WITHIN_S) -> None:
        """Until a record is wanted that has come since the one that was waited for last: what the test did meanwhile
        may have led to it already."""
        found = next(
            (n for n, record in enumerate(self.records[self._waited :], self._waited + 1) if wanted(record)), 0
        )
        if not found:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._awaited.append((wanted, future))
            found = await asyncio.wait_for(future, within_s)
        self._waited = max(self._waited, found)

    async def further(self, steps: int = 10) -> None:
        """Until every rank has been seen to do so many more steps."""
        due = {member: last + steps for member, last in self.last_steps().items()} or {0: steps, 1: steps}
        await asyncio.gather(*(self.until(_reaches(member, step)) for member, step in due.items()))

    def last_steps(self) -> dict[int, int]:
        return {record.member: record.step for record in self.records if isinstance(record, Sample)}

    def sequences(self) -> dict[int, list[int]]:
        """The numbers of each member's samples, in the order they came in."""
        found: dict[int, list[int]] = {}
        for record in self.records:
            if isinstance(record, Sample):
                found.setdefault(record.member, []).append(record.seq)
        return found


class Stage:
    """A cluster of demo hosts in `folder`, which live in `home`.

    `held`: where the tree lies as hosts that have had it before keep it.
    """

    def __init__(self, folder: Path, home: Path, tree: Tree, held: Path | None = None) -> None:
        self.folder = folder
        self.home = home
        self.tree = tree
        self.held = held
        self._sessions: list[Session] = []
        self.port = free_pair()

    def cluster(self, *, steps: int = FOREVER, hosts: Mapping[str, str] = HOSTS, **env: str) -> Cluster:
        """`hosts` have further lines each, `env` is for the stand-in."""
        path = self.folder / "cluster.toml"
        path.write_text(
            f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {self.port}\n'
            f"[run]\nsteps = {steps}\nstop_grace_s = 0.5\n"
            "[defaults.env]\n" + "".join(f"STAND_IN_{key} = {json.dumps(value)}\n" for key, value in env.items())
            + "".join(f'[[hosts]]\nname = "{n}"\n{k}\n' for n, k in hosts.items())
        )  # fmt: skip
        return self.known_to_hosts(load(path))

    def known_to_hosts(self, cluster: Cluster) -> Cluster:
        """Those demo hosts of it that are new have had the tree before: its files are theirs together, see `put`."""
        homes = DemoHosts(cluster).folder
        for host in cluster.hosts if self.held else ():
            place = homes / host.name / self.tree.folder
            if self.held and host.way.served and not (homes / host.name).exists():
                place.parent.mkdir(mode=0o700, parents=True)
                shutil.copytree(self.held, place, copy_function=os.link)
        return cluster

    def session(self, run: str, seen: Seen, cluster: Cluster | None = None, *, readonly: bool = False) -> Session:
        known = self.known_to_hosts(cluster or load(self.folder / "cluster.toml"))
        made = Session(known, run, emit=seen, tree=self.tree, readonly=readonly)
        self._sessions.append(made)
        return made

    def experiment(self, run: str) -> Path:
        return self.folder / "experiments" / run

    def run_folder(self, run: str, host: str) -> Path:
        """Where the host keeps the run."""
        (demo,) = (self.home / ".motley" / "demo").iterdir()
        return demo / host / ".motley" / "runs" / run / host

    def go_on(self, run: str) -> None:
        """To ranks that wait at a step, by STAND_IN_WAITS_AT."""
        (demo,) = (self.home / ".motley" / "demo").iterdir()
        (demo / f"{run}.goes_on").touch()

    def summary(self, run: str) -> Any:
        return json.loads((self.experiment(run) / "summary.json").read_bytes())

    def metrics(self, run: str) -> dict[int, list[int]]:
        """The numbers of each member's samples as the experiment keeps them."""
        paths = (self.experiment(run) / "logs").glob("rank_*_metrics.jsonl")
        return {
            int(p.name.split("_")[1]): [json.loads(line)["seq"] for line in p.read_bytes().splitlines()] for p in paths
        }

    def alive(self) -> list[int]:
        """Processes of any run on these hosts."""
        tag = b"MOTLEY_DIR=" + os.fsencode(self.home)
        found = []
        for entry in Path("/proc").iterdir():
            try:
                environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0] if tag in environ else "Z"
            except OSError:  # gone meanwhile
                continue
            if state not in "ZX":
                found.append(int(entry.name))
        return found

    async def clear(self) -> None:
        """End what a test left."""
        for session in self._sessions:
            with contextlib.suppress(MotleyError):
                await session.close()
        while pids := self.alive():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def staged(
    folder: Path, home: Path, tree: Tree, within_s: float = HANGS_S, held: Path | None = None
) -> AsyncIterator[Stage]:
    """Ends what a test leaves, and the test itself when it hangs."""
    made = Stage(folder, home, tree, held)
    loop = asyncio.get_running_loop()
    alarm = loop.call_later(within_s, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    yield made
    alarm.cancel()
    await made.clear()


def cut(session: Session) -> None:
    """Break every SSH connection of a session from the hosts' side, as a network that goes away does."""
    for connection in list(session._hosts._reach.demo._connections):
        connection.abort()


async def take_away(session: Session, name: str) -> None:
    """From now on the host does not answer this session; what runs there runs on."""
    demo = session._hosts._reach.demo
    for listener in demo._listeners:
        if listener.get_port() == demo.endpoints[name].port:
            listener.close()
            await listener.wait_closed()
    await (await session._hosts.get(name)).close()


def _reaches(member: int, step: int) -> Callable[[FeedRecord], bool]:
    return lambda record: isinstance(record, Sample) and record.member == member and record.step >= step


@contextlib.asynccontextmanager
async def rehearsal() -> AsyncIterator[Stage]:
    """A stage outside pytest, in folders that go away, with an empty home."""
    with tempfile.TemporaryDirectory(prefix="stage-") as folder:
        home, here, tree = (Path(folder) / name for name in ("home", "here", "tree"))
        for made in (home, here, tree):
            made.mkdir()
        os.environ["HOME"] = str(home)
        os.environ.pop("SSH_AUTH_SOCK", None)
        stage = Stage(here, home, stand_in_tree(tree))
        try:
            yield stage
        finally:
            await stage.clear()
