"""Whether processes outlive the login, as systemd's files say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.bootstrap import login_limits


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd that runs, without any settings."""
    for name in ("etc", "run", "usr", "linger"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(login_limits, "_PLACES", tuple(str(tmp_path / name) for name in ("etc", "run", "usr")))
    monkeypatch.setattr(login_limits, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(login_limits, "_LINGERING", str(tmp_path / "linger"))
    return tmp_path


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["[Login]", *lines, ""]))


def test_what_counts(system: Path) -> None:
    assert not login_limits.ends_with_login("ada")
    write(system / "usr/logind.conf", "#KillUserProcesses=yes")  # how this systemd was built
    assert login_limits.ends_with_login("ada")
    write(system / "etc/logind.conf", "KillUserProcesses=no")  # takes the place of the one in usr
    assert not login_limits.ends_with_login("ada")
    write(system / "usr/logind.conf.d/50-site.conf", "KillUserProcesses = yes")
    assert login_limits.ends_with_login("ada")
    assert not login_limits.ends_with_login("root")  # spared by default
    write(system / "etc/logind.conf.d/60-own.conf", "KillUserProcesses=no")  # later by its name
    assert not login_limits.ends_with_login("ada")
    write(system / "etc/logind.conf.d/50-site.conf", "KillUserProcesses=yes")
    write(system / "etc/logind.conf.d/60-own.conf", "KillExcludeUsers=bob ada")
    assert not login_limits.ends_with_login("ada")
    assert login_limits.ends_with_login("root")


def test_who_lingers_is_spared(system: Path) -> None:
    write(system / "etc/logind.conf", "KillUserProcesses=yes", "KillOnlyUsers=ada")
    assert login_limits.ends_with_login("ada")
    assert not login_limits.ends_with_login("bob")
    (system / "linger/ada").touch()
    assert not login_limits.ends_with_login("ada")


def test_without_systemd_nothing_ends(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(system / "etc/logind.conf", "KillUserProcesses=yes")
    monkeypatch.setattr(login_limits, "_BOOTED", str(system / "none"))
    assert not login_limits.ends_with_login("ada")
