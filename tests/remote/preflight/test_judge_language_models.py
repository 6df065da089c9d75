"""What a host lacks for `task = "causal_lm"` is named, with what brings it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding
from motley.remote.hosts.image_contents import Library
from motley.remote.hosts.pool import Hosts
from motley.remote.preflight.check import check
from motley.remote.preflight.judge import judge
from motley.remote.preflight.judge_language_models import language_models, needs
from motley.remote.preflight.probe import Probe
from motley.remote.provision import packages
from motley.remote.provision.packages import Looked
from motley.remote.provision.virtualenv import KIND
from motley.trainer.bootstrap import python_and_torch
from tests.remote.conftest import MakeCluster
from tests.remote.preflight.test_judge import GOOD

BOX = '[[hosts]]\nname = "box1"\naddress = "192.168.0.7"\n'
ALL = {"transformers": "5.23.0", "peft": "0.21.2", "bitsandbytes": "0.50.2", "pyarrow": "26.0.1"}


def of_language_models(cluster: Cluster, **task: Any) -> Cluster:
    return dataclasses.replace(
        cluster, run=dataclasses.replace(cluster.run, task="causal_lm"), task={"train": "a.jsonl", **task}
    )


def having(versions: dict[str, str]) -> Probe:
    libraries = tuple(Library(name=name, version=version) for name, version in versions.items())
    return dataclasses.replace(GOOD, libraries=libraries)


def told(cluster: Cluster, probe: Probe, **task: Any) -> list[Finding]:
    return list(language_models(of_language_models(cluster, **task), cluster.hosts[0], probe))


@pytest.mark.parametrize(
    ("task", "needed"),
    [
        ({}, ("transformers", "peft")),
        ({"method": "full"}, ("transformers",)),
        ({"method": "qlora"}, ("transformers", "peft", "bitsandbytes")),
        ({"optimizer": "paged_adamw_8bit"}, ("transformers", "peft", "bitsandbytes")),
        ({"test": "b.parquet"}, ("transformers", "peft", "pyarrow")),
    ],
)
def test_only_what_the_keys_of_task_need_is_asked_for(
    make_cluster: MakeCluster, task: dict[str, str], needed: tuple[str, ...]
) -> None:
    cluster = make_cluster(BOX)
    assert needs(cluster) == ()
    assert needs(of_language_models(cluster, **task)) == needed
    assert set(needed) <= set(python_and_torch.OF_LANGUAGE_MODELS)


def test_what_is_missing_or_too_old_is_one_finding_with_a_command(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(BOX)
    assert told(cluster, having(ALL), method="qlora") == []
    (found,) = told(cluster, having({"transformers": "4.57.1", "peft": ""}), train="a.parquet")
    assert (found.host, found.check, found.level) == ("box1", "libraries", "error")
    assert found.cause.startswith(
        "python3 (Python 3.11.2) has transformers 4.57.1, older than 5 and no peft and no pyarrow"
    )
    assert 'Write packages = "llm" under [environment]' in found.remedy
    install = "ssh 192.168.0.7 '/usr/bin/python3 -m pip install"
    assert install in found.remedy
    assert "transformers>=5" in found.remedy
    assert "datasets>=3" in found.remedy


def test_the_remedy_is_for_how_the_host_has_its_packages(make_cluster: MakeCluster, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("transformers==4.57.1\n")
    old = having({**ALL, "transformers": "4.57.1"})
    (file,) = told(make_cluster(f'{BOX}requirements = "mine.txt"\n'), old)
    assert file.remedy.endswith("or add them to mine.txt")
    (both,) = told(make_cluster(f'{BOX}requirements = "mine.txt"\npackages = "llm"\n'), old)
    assert both.remedy == "mine.txt takes the place of the list's versions: take transformers out of it."
    (image,) = told(make_cluster(f'{BOX}runtime = "docker"\nimage = "mine"\n'), old)
    assert image.cause.startswith("python3 in its image has transformers 4.57.1")
    assert "Take an image that has them" in image.remedy


def test_a_host_whose_environment_is_still_to_come_lacks_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(f'[environment]\npackages = "llm"\n{BOX}')
    found = told(cluster, having({}))
    assert [f.check for f in found] == ["libraries"]
    (left,) = packages.judged(cluster, found, [Looked(KIND, without=["box1"])])
    assert (left.check, left.level) == ("environment", "warning")


def test_folders_for_containers_that_are_not_there_are_named(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(f'{BOX}runtime = "docker"\nimage = "mine"\nmounts = ["/srv/my models:ro"]\n')
    probe = dataclasses.replace(GOOD, folders_missing=("/srv/my models",))
    (found,) = judge(cluster, {"box1": probe}, {})
    assert (found.check, found.level) == ("container", "error")
    assert "there is no folder /srv/my models" in found.cause
    assert "ls -ld" in found.remedy


async def test_a_host_says_what_it_has(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine's Python, by way of a demo host: pytest is there, and no such thing as the other."""
    monkeypatch.setattr("motley.remote.preflight.check.needs", lambda _: ("pytest", "motley-nowhere"))
    cluster = make_cluster(f'[cluster]\nconnect = "demo"\n[[hosts]]\nname = "box"\npython = "{sys.executable}"\n')
    async with Hosts(cluster) as hosts:
        probe = (await check(hosts, lambda _: None)).probes["box"]
    assert probe.libraries == (
        Library(name="pytest", version=pytest.__version__), Library(name="motley-nowhere", version="")
    )  # fmt: skip
