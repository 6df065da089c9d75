"""`motley keys` against servers that take passwords: what is asked, what is put where, what a login shows then."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from motley.remote.config.cluster import Host
from motley.remote.errors import AuthenticationFailed, NewKey, NoPasswords, Unreachable
from motley.remote.ssh.copy_id import Entry, User, let_in
from tests.remote.by_password import ByPassword
from tests.remote.conftest import host_of
from tests.remote.sshd import Sshd, make_key
from tests.support.ports import free_pair

SECRET = "wide, Open"


class Person:
    """Answers every question, and remembers them."""

    def __init__(self, *passwords: str, makes_key: bool = True) -> None:
        self.asked: list[str] = []
        self._passwords = list(passwords)
        self._makes_key = makes_key
        self.said: list[Entry] = []

    async def accept(self, key: NewKey) -> bool:
        self.asked.append(f"host key of {key.name}")
        return True

    async def password(self, where: str) -> str:
        self.asked.append(f"password of {where}")
        return self._passwords.pop(0)

    async def create(self, path: str) -> bool:
        self.asked.append(f"make {path}")
        return self._makes_key

    async def set_up(self, *hosts: Host) -> list[Entry]:
        user = User(accept=self.accept, password=self.password, create=self.create)
        return await let_in(hosts, user, self.said.append)


def host(server: ByPassword, name: str = "box", jump: str | None = None, identity: str | None = None) -> Host:
    return Host(name=name, address="127.0.0.1", port=server.port, user=server.user, jump=jump, identity=identity)


def where(server: ByPassword) -> str:
    return f"{server.user}@127.0.0.1:{server.port}"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def told(entries: Sequence[Entry]) -> list[tuple[str, bool, bool]]:
    return [(entry.where, entry.put, entry.error is None) for entry in entries]


async def test_a_new_host_gets_a_new_key_and_lets_the_user_in_by_it(home: Path, tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET) as server:
        person = Person(SECRET)
        assert told(await person.set_up(host(server))) == [(where(server), True, True)]
        name = f"[127.0.0.1]:{server.port}"
        assert person.asked == [f"host key of {name}", "make ~/.ssh/id_ed25519", f"password of {where(server)}"]
        private, public = home / ".ssh/id_ed25519", home / ".ssh/id_ed25519.pub"
        assert (mode(home / ".ssh"), mode(private), mode(public)) == (0o700, 0o600, 0o644)
        assert subprocess.run(["ssh-keygen", "-y", "-f", private], check=True, capture_output=True).returncode == 0
        assert server.authorized.read_text() == public.read_text()
        assert [mode(path) for path in (server.authorized, server.authorized.parent)] == [0o600, 0o700]
        assert mode(server.home) & 0o022 == 0  # sshd would heed no key below a folder that others may write
        again = Person()
        assert told(await again.set_up(host(server))) == [(where(server), False, True)]
        assert again.asked == []
    for file in home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


async def test_jump_hosts_come_first_and_are_asked_about_once(tmp_path: Path) -> None:
    async with (
        ByPassword(tmp_path / "gate", "one") as gate,
        ByPassword(tmp_path / "box1", "two") as box1,
        ByPassword(tmp_path / "box2", "three") as box2,
    ):
        person = Person("one", "two", "three")
        hosts = [host(box1, "box1", where(gate)), host(box2, "box2", where(gate))]
        entries = await person.set_up(*hosts)
        assert told(entries) == [(where(server), True, True) for server in (gate, box1, box2)]
        assert [asked for asked in person.asked if asked.startswith("password")] == [
            f"password of {where(server)}" for server in (gate, box1, box2)
        ]
        assert (gate.tried, box1.tried, box2.tried) == (["one"], ["two"], ["three"])


async def test_lines_that_are_there_stay_and_the_key_is_put_once(home: Path, tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET, heeds_keys=False) as server:
        server.authorized.parent.mkdir(mode=0o755)
        server.authorized.write_text("# mine\nssh-rsa AAAA colleague")  # without a newline at its end
        (entry,) = await Person(SECRET).set_up(host(server))
        assert isinstance(entry.error, AuthenticationFailed)
        assert "is in ~/.ssh/authorized_keys of" in entry.error.cause
        assert "sshd refuses it all the same" in entry.error.cause
        await Person(SECRET).set_up(host(server))
        public = (home / ".ssh/id_ed25519.pub").read_text()
        assert server.authorized.read_text() == f"# mine\nssh-rsa AAAA colleague\n{public}"


async def test_a_wrong_password_is_asked_once_and_changes_nothing(tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET) as server:
        person = Person("wrong")
        (entry,) = await person.set_up(host(server))
        assert isinstance(entry.error, AuthenticationFailed)
        assert f"the password of {server.user} was not accepted" in entry.error.cause
        assert "wrong" not in str(entry.error)
        assert server.tried == ["wrong"]
        assert not server.authorized.exists()
        (entry,) = await Person("").set_up(host(server))  # left out
        assert "may not log in" in str(entry.error)


async def test_where_nobody_gets_in_by_password_the_line_to_append_is_shown(
    home: Path, tmp_path: Path, sshd: Sshd
) -> None:
    person = Person(SECRET, SECRET)
    async with ByPassword(tmp_path / "box", None) as server:
        entries = await person.set_up(host(server), host_of(sshd, "real", identity=None))
    line = (home / ".ssh/id_ed25519.pub").read_text().split()[1]
    for entry in entries:
        assert isinstance(entry.error, NoPasswords)
        assert line in entry.error.remedy


async def test_no_key_is_made_against_the_user_s_will(home: Path, tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET) as server:
        person = Person(makes_key=False)
        (entry,) = await person.set_up(host(server))
        assert "there is no key in ~/.ssh and no SSH agent" in str(entry.error)
        assert not (home / ".ssh").exists()
        named = str(tmp_path / "mine")
        (entry,) = await Person(SECRET).set_up(host(server, identity=named))
        assert entry.error is None
        assert mode(Path(named)) == 0o600


async def test_a_key_that_opens_nothing_is_not_put_anywhere(tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET) as server:
        path = tmp_path / "locked"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
        person = Person(SECRET)
        (entry,) = await person.set_up(host(server, identity=str(path)))
        assert f"ssh-add {path}" in str(entry.error)
        assert server.tried == []
        assert not any(asked.startswith("password") for asked in person.asked)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A running ssh-agent that holds the key of this path."""
    key = make_key(tmp_path / "in_agent")
    place = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
    yield key
    process.terminate()
    process.wait(5)
    process.stdout.close()


async def test_the_key_of_the_agent_is_put_there_also_that_of_a_file_with_a_passphrase(
    agent: Path, tmp_path: Path
) -> None:
    line = agent.with_suffix(".pub").read_text()
    async with ByPassword(tmp_path / "box", SECRET) as server:
        (entry,) = await Person(SECRET).set_up(host(server))
        assert entry.error is None
        assert server.authorized.read_text() == line
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", agent], check=True, capture_output=True)
    async with ByPassword(tmp_path / "other", SECRET) as server:
        (entry,) = await Person(SECRET).set_up(host(server, identity=str(agent)))
        assert entry.error is None
        assert server.authorized.read_text() == line


async def test_what_a_key_does_not_mend_is_told_without_a_question(sshd: Sshd) -> None:
    person = Person()
    gone = Host(name="gone", address="127.0.0.1", port=free_pair())
    in_order, down = await person.set_up(host_of(sshd, "real"), gone)
    assert (in_order.error, in_order.put) == (None, False)
    assert isinstance(down.error, Unreachable)
    assert person.asked == []


async def test_a_home_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    async with ByPassword(tmp_path / "box", SECRET) as server:
        (server.home / ".ssh").write_text("in the way")
        (entry,) = await Person(SECRET).set_up(host(server))
        assert "the key could not be put into ~/.ssh/authorized_keys" in str(entry.error)
