"""docs/first-model.md: every command of it, as it stands there, from an empty home with two real hosts.

The blocks of the page are run in their order, in one shell: `sh` as it stands, `toml` written into cluster.toml. The
first of them, the installation, runs beside the lab and not in it, whose network leads to no package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.support.absent import not_here
from tests.support.building import ROOT, build

pytestmark = pytest.mark.longest

PAGE = (ROOT / "docs/first-model.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
INSTALL_S, USE_S = 300.0, 240.0


@pytest.fixture(name="two")
def _two(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    """Hosts of the page's names, on which `~/torch` is what runs the tests."""
    with Lab({"desktop": None, "laptop": None}) as lab:
        for host in lab.hosts.values():
            (host.home / "torch").symlink_to(sys.prefix)
        yield lab


def installed(home: Path, block: str) -> None:
    """The page's installation, in the home that the master of the lab has. pip itself is set up as on this machine."""
    probe = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "1", "--timeout", "15", "-d", str(home)]
    tried = subprocess.run([*probe, "pathspec"], capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if tried.returncode != 0:
        not_here(f"pip gets nothing from its package index here: {tried.stderr.strip().splitlines()[-1]}")
    shutil.copy(build(ROOT, "wheel", home / "dist"), home)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"  # which Python is tried
    env |= {"HOME": str(home), "XDG_CONFIG_HOME": env.get("XDG_CONFIG_HOME", str(Path.home() / ".config"))}
    done = subprocess.run(
        ["sh", "-ec", block], cwd=home, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_page_works_from_an_empty_home(two: Lab) -> None:
    (kind, install), *rest = BLOCKS
    assert (kind, {name for name, _ in rest}) == ("sh", {"sh", "toml"}), "a block of another kind is tried by nobody"
    home = two.home
    installed(home, install)
    (line,) = re.findall(r"^export PATH=.*$", install, re.MULTILINE)
    steps = [line, "unset PYTHONPATH"]
    steps += [
        text if kind == "sh" else f"cat >cluster.toml <<'END OF FILE'\n{text}END OF FILE\n" for kind, text in rest
    ]
    steps.insert(-1, "cp -r experiments cluster.toml second.pt ../left")  # before the last step clears away
    (home / "left").mkdir()
    done = two.exec(["sh", "-exc", "\n".join(steps)], timeout_s=USE_S)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"

    left = home / "left"
    for run in ("first", "second"):
        summary = json.loads((left / "experiments" / run / "summary.json").read_text())
        assert (summary["state"], summary["epochs"]) == ("finished", 20)
        assert {host["name"] for host in summary["hosts"]} == {"desktop", "laptop"}
        assert summary["eval"]["loss"] < 0.69, "it knows more than nothing of two kinds"
    names = zipfile.ZipFile(left / "second.pt").namelist()
    assert any(name.endswith("data.pkl") for name in names)
    assert not list((home / "motley/lib").glob("python*/site-packages/torch")), "the console needs no torch"
