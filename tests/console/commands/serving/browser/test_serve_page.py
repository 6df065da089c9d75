"""What `motley serve` says, starts and refuses; the page itself is looked at in tests/browser."""

from __future__ import annotations

import getpass
import importlib.util
import shlex
import socket
import sys
from pathlib import Path

import pytest

from motley.console.cli import app
from motley.console.commands.serving.browser.serve_page import attach_words, told, tunnel

ME = getpass.getuser()


def test_a_console_only_watches_unless_it_was_asked_for_more(tmp_path: Path) -> None:
    words = attach_words("night", tmp_path / "cluster.toml", control=False)
    assert words[:5] == [sys.executable, "-m", "motley.console", "attach", "night"]
    assert words[5:] == ["--config", str(tmp_path / "cluster.toml"), "--readonly"]
    assert attach_words("night", tmp_path / "cluster.toml", control=True) == words[:-1]


@pytest.mark.parametrize(
    ("connection", "there"),
    [
        ({}, [f"{ME}@{socket.gethostname()}"]),
        ({"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.2 22"}, [f"{ME}@10.0.0.2"]),
        ({"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.2 2222"}, ["-p", "2222", f"{ME}@10.0.0.2"]),
        ({"SSH_CONNECTION": "nonsense"}, [f"{ME}@{socket.gethostname()}"]),
    ],
)
def test_the_tunnel_leads_to_where_ssh_has_come_to(connection: dict[str, str], there: list[str]) -> None:
    words = shlex.split(tunnel(9465, connection))
    assert words == ["ssh", "-N", "-L", "9465:127.0.0.1:9465", *there]


def test_it_says_what_the_page_may_do() -> None:
    assert "only watches (--control lets it act)" in told("night", 9465, {}, control=False)[0]
    assert "may change the run" in told("night", 9465, {}, control=True)[0]


def test_metrics_take_no_control(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        app(["serve", "--prometheus", "--control"], prog_name="motley")
    assert left.value.code == 2
    assert capsys.readouterr().err == "motley: --control is for the page; --prometheus only reads\n"


@pytest.mark.skipif(importlib.util.find_spec("textual_serve") is not None, reason="textual-serve is installed here")
def test_without_its_library_it_says_how_to_install_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        app(["serve"], prog_name="motley")
    assert left.value.code == 2
    assert "textual-serve is not installed where Motley is: pip install 'motley-cluster[browser]'" in (
        capsys.readouterr().err
    )
