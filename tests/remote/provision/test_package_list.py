"""`[environment] packages`: a list that comes with Motley, in environments of demo hosts, from a wheel made here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.provision import virtualenv, wanted_image
from motley.remote.provision.package_list import text_of
from tests.remote.conftest import MakeCluster
from tests.remote.provision.test_virtualenv import make_wheel, says


def listing(wheel: Path) -> str:
    """As the lists that come with Motley are, of one package."""
    version = wheel.name.split("-")[1]
    return f"# ours\nmotley-tiny=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def cluster(make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A host that gets the list, and one that does not."""
    text = listing(make_wheel(tmp_path / "wheels", "of the list"))
    monkeypatch.setattr(virtualenv, "text_of", {"llm": text}.__getitem__)
    return make_cluster(
        '[cluster]\nname = "demo"\nconnect = "demo"\n[environment]\npackages = "llm"\nwheels = "wheels"\n'
        '[[hosts]]\nname = "box"\n[[hosts]]\nname = "bare"\npackages = ""\n'
    )


async def made(cluster: Cluster) -> tuple[dict[str, str], str]:
    """What went wrong, and what the package there says then."""
    seen: list[Progress] = []
    async with Hosts(cluster) as hosts:
        failed = await virtualenv.prepare(hosts, seen.append)
        causes = {name: f"{error.cause} {error.remedy}" for name, error in failed.items()}
        return causes, await says(hosts)


async def test_it_is_installed_alone_and_by_its_hashes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = listing(make_wheel(tmp_path / "wheels", "alone", requires="Requires-Dist: motley-nowhere\n"))
    monkeypatch.setattr(virtualenv, "text_of", {"llm": text}.__getitem__)
    assert list(virtualenv.read(cluster, cluster.hosts)) == ["box"]
    assert await made(cluster) == ({}, "alone")
    make_wheel(tmp_path / "wheels", "something else")
    causes, _ = await made(cluster)
    assert "pip could not install the list of packages" in causes["box"]
    assert "Look at the folder of wheels" in causes["box"]


async def test_the_user_s_own_file_comes_after_it_and_counts_more(cluster: Cluster, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "of the file", "2.0")
    (tmp_path / "requirements.txt").write_text("motley-tiny\n")
    both = load(cluster.path, ["environment.requirements=requirements.txt"])
    assert await made(both) == ({}, "of the list")  # which will do
    (tmp_path / "requirements.txt").write_text("motley-tiny==2.0\n")
    assert await made(both) == ({}, "of the file")
    assert virtualenv.read(both, both.hosts)["box"].name == 'packages = "llm" and requirements.txt'


def test_an_environment_of_a_file_alone_is_the_one_that_it_was(make_cluster: MakeCluster, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("einops\n")
    cluster = make_cluster('[[hosts]]\nname = "a"\nrequirements = "r.txt"\n')
    (alone,) = virtualenv.read(cluster, cluster.hosts).values()
    assert alone.key == hashlib.sha256(b"\neinops\n").hexdigest()
    with_list = load(cluster.path, ["environment.packages=llm"])
    (both,) = virtualenv.read(with_list, with_list.hosts).values()
    assert both.key != alone.key
    assert both.packages == text_of("llm")


def test_an_image_is_built_with_both(make_cluster: MakeCluster, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    cluster = make_cluster(
        '[environment]\nruntime = "docker"\ndockerfile = "Dockerfile"\npackages = "llm"\n[[hosts]]\nname = "a"\n'
    )
    (wanted,) = wanted_image.read(cluster, cluster.hosts).values()
    assert wanted.built is not None
    assert dict(wanted.built.files) == {
        "Dockerfile": "FROM x\n", "packages.txt": text_of("llm"), "requirements.txt": ""
    }  # fmt: skip
