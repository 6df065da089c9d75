"""examples/kubernetes and docs/kubernetes.md say what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.kubernetes.documents import Kind
from motley.remote.kubernetes.manifests import manifests
from motley.trainer.pod.start import CODES, ENDED, LOST

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/kubernetes"
PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "kind", "pods"),
    [("single.toml", "pytorchjob", 1), ("cluster.toml", "jobset", 3), ("script.toml", "pytorchjob", 2)],
)
def test_every_example_becomes_manifests(file: str, kind: Kind, pods: int) -> None:
    cluster = load(EXAMPLE / file, verb="export kubernetes")
    made = manifests(cluster, "first", kind, token="5e" * 32, environ={})
    assert f"examples/kubernetes/{file}" in (EXAMPLE / file).read_text() or file == "cluster.toml"
    assert sum(host.nodes for host in cluster.hosts) == pods
    assert made.text.count("name: pytorchjob-port") == {1: 1, 3: 2, 2: 2}[pods]
    assert f"]({file})" in (EXAMPLE / "README.md").read_text()


def test_the_image_has_the_torch_of_the_other_dockerfile_and_what_a_host_gets() -> None:
    ours, other = ((folder / "Dockerfile").read_text(encoding="utf-8") for folder in (EXAMPLE, ROOT))
    pins = re.compile(r"\b(?:torch|numpy)==[\d.]+|python:\d+\.\d+\.\d+-\S+")
    assert set(pins.findall(ours)) == set(pins.findall(other))
    copied = set(re.findall(r"^COPY (\S+) ", ours, re.MULTILINE))
    let_in = set(re.findall(r"^!(\S+)$", (EXAMPLE / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert copied == {"motley/__init__.py", "trainer", "profiles"}  # as `push_code.PARTS`
    assert let_in == {*copied, "remote/provision/package_lists"}


def test_the_page_shows_a_valid_file_and_every_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(PAGE.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    cluster = load(file, verb="export kubernetes")
    assert manifests(cluster, "night", "jobset", token="5e" * 32, environ={}).text
    for code in (ENDED, *CODES.values()):
        assert str(int(code)) in PAGE
    assert LOST >= 128
