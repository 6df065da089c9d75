"""What the tests of `remote` share: a real sshd, known to the user, and hosts written as cluster.toml has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.load import load
from motley.remote.provision.push_code import Tree
from motley.remote.ssh.dial import Dialer
from motley.trainer.bootstrap.code_trees import STAMP, whole
from tests.remote.sshd import Sshd, why_not
from tests.remote.stage import Stage, held, staged, stand_in_tree
from tests.support.absent import not_here

MakeCluster = Callable[[str], Cluster]


@pytest.fixture(scope="session")
def _can_have_sshd() -> None:
    if reason := why_not():
        not_here(reason)


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def make_sshd(_can_have_sshd: None, tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts one more sshd with the given lines of sshd_config."""
    running: list[Sshd] = []

    def make(*options: str) -> Sshd:
        sshd = Sshd(tmp_path / f"sshd{len(running)}", *options)
        running.append(sshd.__enter__())
        return sshd

    yield make
    for sshd in running:
        sshd.__exit__(None, None, None)


@pytest.fixture
def sshd(make_sshd: Callable[..., Sshd], home: Path) -> Sshd:
    """One whose host key is in ~/.ssh/known_hosts."""
    made = make_sshd()
    know(home, made)
    return made


@pytest.fixture
async def dialer() -> AsyncIterator[Dialer]:
    made = Dialer()
    yield made
    await made.close()


@pytest.fixture
def make_cluster(tmp_path: Path) -> MakeCluster:
    """A cluster.toml with the given text, loaded."""

    def make(text: str) -> Cluster:
        path = tmp_path / "cluster.toml"
        path.write_text(text)
        return load(path)

    return make


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return stand_in_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def stand_in_held(tmp_path_factory: pytest.TempPathFactory, stand_in: Tree) -> Iterator[Path]:
    yield (kept := held(stand_in, tmp_path_factory.mktemp("held")))
    (kept / STAMP).unlink()
    assert whole(str(kept))  # all hosts of all tests have its files


@pytest.fixture
async def stage(tmp_path: Path, home: Path, stand_in: Tree, stand_in_held: Path) -> AsyncIterator[Stage]:
    """Its hosts have had the code before: of those that have not, `provision/test_push_code.py` tells."""
    async with staged(tmp_path, home, stand_in, held=stand_in_held) as made:
        yield made


def know(home: Path, *servers: Sshd) -> Path:
    """Adds their host keys to the user's known_hosts."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "known_hosts"
    with path.open("a") as file:
        file.writelines(server.known_line for server in servers)
    return path


def host_of(sshd: Sshd, name: str = "box", **changes: object) -> Host:
    values: dict[str, object] = {
        "name": name,
        "address": "127.0.0.1",
        "port": sshd.port,
        "user": sshd.user,
        "identity": str(sshd.user_key),
    }
    return Host(**{**values, **changes})  # type: ignore[arg-type]
