"""First contact over a real sshd: what is asked, what is kept, and that no connection asks by itself."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import CheckFailed, Finding, HostError, HostKeyChanged, HostKeyUnknown, NewKey, UsageError
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.session.runs import newest
from motley.remote.session.session import Session
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.new_host_keys import OWN, accept, introduced, new_keys
from tests.remote.conftest import host_of
from tests.remote.sshd import Sshd, make_key


class Answers:
    """A user who says yes to the fingerprints that they expect."""

    def __init__(self, *servers: Sshd) -> None:
        self.asked: list[NewKey] = []
        self._expected = [server.fingerprint for server in servers]

    async def __call__(self, key: NewKey) -> bool:
        self.asked.append(key)
        return any(fingerprint in key.fingerprint for fingerprint in self._expected)


def cluster_of(folder: Path, more: str = "", **hosts: Sshd) -> Cluster:
    """`more`: lines of every host."""
    path = folder / "cluster.toml"
    path.write_text(
        "".join(
            f'[[hosts]]\nname = "{name}"\naddress = "127.0.0.1"\nport = {sshd.port}\nuser = "{sshd.user}"\n'
            f'identity = "{sshd.user_key}"\npython = "/none/python"\n{more}'
            for name, sshd in hosts.items()
        )
    )
    return load(path)


def of_the_key(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.host for finding in findings if finding.check == "host_key"]


async def test_what_the_user_accepts_is_kept_in_our_own_file_and_the_rest_stays_a_finding(
    make_sshd: Callable[..., Sshd], home: Path, tmp_path: Path
) -> None:
    first, second = make_sshd(), make_sshd()
    cluster = cluster_of(tmp_path, box1=first, box2=second)
    user = Answers(first)
    findings = await preflight(cluster, lambda _: None, user)
    assert [key.host for key in user.asked] == ["box1", "box2"]  # each once, though it looked twice
    assert of_the_key(findings) == ["box2"]
    own = Path(OWN).expanduser()
    assert own.parent.parent == home
    assert own.read_text().split()[:2] == [f"[127.0.0.1]:{first.port}", "ssh-ed25519"]
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert not (home / ".ssh" / "known_hosts").exists()
    assert of_the_key(await preflight(cluster, lambda _: None)) == ["box2"]  # nobody is asked: it is known, or refused
    own.write_text(own.read_text().rstrip("\n"))  # as an editor may leave it
    other = NewKey(host="box2", name="box2", fingerprint="", line="box2 ssh-ed25519 AAAA")
    accept([other, other])
    assert [line.split()[0] for line in own.read_text().splitlines()] == [f"[127.0.0.1]:{first.port}", "box2"]


async def test_behind_a_jump_host_that_is_new_there_is_another_one(
    make_sshd: Callable[..., Sshd], home: Path, tmp_path: Path
) -> None:
    gate, box = make_sshd(), make_sshd()
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text(f"Host 127.0.0.1\n  IdentityFile {gate.user_key}\n")
    user = Answers(gate, box)
    async with Hosts(cluster_of(tmp_path, f'jump = "{gate.user}@127.0.0.1:{gate.port}"\n', box=box)) as hosts:
        outcomes = await introduced(lambda: hosts.connect(lambda _: None), lambda found: new_keys(found.values()), user)
        assert isinstance(outcomes["box"], SSHConnection)
    assert [key.name for key in user.asked] == [f"[127.0.0.1]:{gate.port}", f"[127.0.0.1]:{box.port}"]


async def test_a_changed_key_is_never_asked_about_and_every_file_that_has_the_old_one_is_named(
    sshd: Sshd, home: Path, tmp_path: Path, dialer: Dialer
) -> None:
    algorithm, data = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2]
    old = f"[127.0.0.1]:{sshd.port} {algorithm} {data}"
    known = home / ".ssh" / "known_hosts"
    known.write_text(f"{old}\n")
    accept([NewKey(host="box", name="", fingerprint="", line=old)])
    with pytest.raises(HostKeyChanged, match="or another one answers in its place") as caught:
        await SSHConnection.open(host_of(sshd), dialer)
    assert caught.value.new_key is None
    for file in (known, Path(OWN).expanduser()):
        assert f"ssh-keygen -f {file} -R" in caught.value.remedy


async def test_a_place_that_can_not_be_written_is_named(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    with pytest.raises(HostKeyUnknown) as unknown:
        await SSHConnection.open(host_of(make_sshd()), dialer)
    assert unknown.value.new_key is not None
    (home / ".motley").write_text("in the way")
    with pytest.raises(HostError, match="known_hosts: "):
        accept([unknown.value.new_key])


async def test_starting_a_run_and_coming_back_to_one_ask_too(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = make_sshd()
    cluster = cluster_of(tmp_path, box=sshd)
    user = Answers()
    session = Session(cluster, "night", emit=lambda _: None, ask=user)
    with pytest.raises(CheckFailed, match="is not known yet"):
        await session.launch()
    with pytest.raises(UsageError, match="no host knows a run named 'night'; no answer from box"):
        await session.attach()
    await session.close()
    with pytest.raises(UsageError, match="no answer from box"):
        await newest(cluster, user)
    assert [key.host for key in user.asked] == ["box"] * 3
