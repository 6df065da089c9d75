"""A release holds one package, `motley`, the same from a checkout as from an sdist; and what a host gets of it."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from motley.remote.provision.push_code import PARTS, Tree
from tests.support.building import ROOT, build, by_way_of_sdist

PACKAGES = ("console", "profiles", "remote", "trainer")


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module", name="wheel")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(build(ROOT, "wheel", tmp_path_factory.mktemp("wheel")))


def test_a_wheel_holds_one_package_and_all_of_it(wheel: dict[str, bytes]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"motley"}
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()  # fmt: skip
    known = {f"motley/{path}": (ROOT / path).read_bytes() for path in listed if (ROOT / path).is_file()}
    assert known | {"motley/__init__.py": (ROOT / "motley/__init__.py").read_bytes()} == {
        name: wheel[name] for name in wheel if name in known or name == "motley/__init__.py"
    }


def test_a_wheel_made_from_the_sdist_is_the_same(wheel: dict[str, bytes], tmp_path: Path) -> None:
    assert files_of(by_way_of_sdist(tmp_path)) == wheel


def test_a_host_gets_what_the_wheel_holds_of_its_parts(wheel: dict[str, bytes]) -> None:
    ours = {name: content for name, content in wheel.items() if name.startswith(PARTS)}
    del ours["motley/__init__.pyi"]  # for type checkers: nothing reads it when code runs
    assert {file.path: file.content for file in Tree.installed().files} == ours
