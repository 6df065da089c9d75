"""How a host has docker build an image: with BuildKit wherever its docker has that."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.bootstrap import container_image

DOCKER = """#!/bin/sh
here=$(dirname "$0")
case "$1" in
version) echo {version};;
buildx) exit {without_buildx};;
image) [ -e "$here/built" ] && echo 'sha256:1 [] null';;
build) echo "${{DOCKER_BUILDKIT:-none}}" > "$here/built";;
run) echo 'motley:{{"python": "3.12.1", "torch": "2.13.0"}}';;
esac
"""


@pytest.mark.parametrize(
    ("version", "has_buildx", "asked"),
    [("20.10.24+dfsg1", False, "1"), ("20.10.24+dfsg1", True, "1"), ("28.2.2", True, "1"), ("28.2.2", False, "none")],
)
def test_it_builds_with_buildkit_where_docker_has_it(
    version: str, has_buildx: bool, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 12's docker has it and must be asked; a later one without buildx would refuse."""
    monkeypatch.setattr(container_image, "IMAGES", str(tmp_path / "made"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(version=version, without_buildx=int(not has_buildx)))
    docker.chmod(0o755)
    build = {"key": "k", "files": {"Dockerfile": "FROM x\n", "requirements.txt": ""}, "base": ""}
    wanted = {"runtime": "docker", "image": "motley:k", "get": True, "build": build, "gpus": False, "inside": ""}
    assert container_image.look(wanted)["torch"] == "2.13.0"
    assert (tmp_path / "built").read_text().strip() == asked
    assert not (tmp_path / "made/k").exists()
