"""What commands on the machine itself have in their environment: what its sshd would give them."""

from __future__ import annotations

from pathlib import Path

from motley.remote.hosts.login_environment import PATH, login_environment


def test_without_any_file_it_has_what_every_login_has(tmp_path: Path) -> None:
    assert login_environment("ada", "/home/ada", "/bin/zsh", 1000, tmp_path) == {
        "PATH": PATH, "HOME": "/home/ada", "USER": "ada", "LOGNAME": "ada", "SHELL": "/bin/zsh",
    }  # fmt: skip


def test_it_has_what_the_system_gives_to_every_login(tmp_path: Path) -> None:
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "run/user/1000").mkdir(parents=True)
    lines = 'PATH="/opt/bin:/usr/bin"\n# no_proxy=x\nexport http_proxy=http://proxy:3128\nHOME=/tmp\nnonsense\n'
    (tmp_path / "etc/environment").write_text(lines)
    (tmp_path / "etc/default/locale").write_text("LANG=de_DE.UTF-8\n")
    found = login_environment("ada", "/home/ada", "/bin/sh", 1000, tmp_path)
    assert found == {
        "PATH": "/opt/bin:/usr/bin", "http_proxy": "http://proxy:3128", "LANG": "de_DE.UTF-8", "HOME": "/home/ada",
        "USER": "ada", "LOGNAME": "ada", "SHELL": "/bin/sh", "XDG_RUNTIME_DIR": "/run/user/1000",
    }  # fmt: skip
