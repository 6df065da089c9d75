"""What the repository says about cluster.toml is true: the reference page, the examples, the file tried first."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.config.schema import reference
from motley.remote.config.sections import SECTIONS
from motley.remote.provision.project import find

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def test_the_reference_page_is_what_the_definitions_say() -> None:
    page = (ROOT / "docs/cluster-toml.md").read_text(encoding="utf-8")
    assert page == reference(), "out of date: python -m motley.remote.config.schema > docs/cluster-toml.md"


def test_the_reference_page_has_every_section_and_its_example_is_valid(tmp_path: Path) -> None:
    page = reference()
    assert [section for section in SECTIONS if f"[{section}]" not in page] == []
    path = tmp_path / "cluster.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert [host.name for host in load(path).hosts] == ["desktop", "laptop"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_on_real_hosts(path: Path) -> None:
    cluster = load(path)
    assert len(cluster.hosts) >= 2
    assert {host.connect for host in cluster.hosts} == {"ssh"}


def test_the_example_of_a_script_is_valid_and_brings_it_along() -> None:
    found = find(load(ROOT / "examples/script/cluster.toml"))
    assert found.files == (".motleyignore", "train.py")


def test_the_page_about_scripts_shows_a_valid_file(tmp_path: Path) -> None:
    page = (ROOT / "docs/script.md").read_text(encoding="utf-8")
    path = tmp_path / "cluster.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    cluster = load(path)
    assert (cluster.run.script, len(cluster.run.args)) == ("train.py", 4)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


def test_the_file_in_the_repository_is_four_demo_hosts_of_unequal_speed() -> None:
    cluster = load(ROOT / "cluster.toml")
    assert [host.speed for host in cluster.hosts] == [1.0, 0.5, 0.25, 0.25]
    assert {host.connect for host in cluster.hosts} == {"demo"}
    assert (cluster.run.task, cluster.balance.policy) == ("simple_cnn/digits", "dynamic")
    assert cluster.leader == cluster.hosts[0].name


def test_the_real_host_shown_in_its_comments_is_valid(tmp_path: Path) -> None:
    lines = (ROOT / "cluster.toml").read_text(encoding="utf-8").splitlines()
    shown = lines[lines.index("# [[hosts]]") :]
    path = tmp_path / "cluster.toml"
    path.write_text("\n".join(line[2:] for line in shown[: shown.index("")]), encoding="utf-8")
    (host,) = load(path).hosts
    assert (host.connect, host.user) == ("ssh", "alex")
