"""cluster.toml where hosts are classes of pods: their names and numbers, and what is of no use there."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import ConfigError
from motley.remote.kubernetes.pods import as_pods, groups, members_of

KUBERNETES = '[cluster]\nconnect = "kubernetes"\n'
CLASSES = '[[hosts]]\nname = "big"\nnodes = 2\ngpus = 1\n[[hosts]]\nname = "small"\nnodes = 3\n'


def read(folder: Path, text: str, only: tuple[str, ...] = ()) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(text)
    return load(path, (), only)


@pytest.mark.parametrize("leader", ["big-0", "big-1", "small-2"])
def test_a_pod_has_the_number_that_the_manifests_give_it(tmp_path: Path, leader: str) -> None:
    cluster = read(tmp_path, f'{KUBERNETES}leader = "{leader}"\n{CLASSES}')

    assert {host.name for host in cluster.hosts} == {"big-0", "big-1", "small-0", "small-1", "small-2"}
    numbers = {host.name: host.pod.number for host in cluster.hosts if host.pod}
    assert numbers == {name: group.first + i for group in groups(cluster) for i, name in enumerate(group.hosts)}
    assert [host.name for host in as_pods(cluster).hosts] == sorted(numbers, key=lambda name: numbers[name])
    assert numbers[leader] == 0
    assert next(member.host for member in members_of(cluster)) == leader


def test_the_first_pod_of_a_class_leads_in_its_name(tmp_path: Path) -> None:
    assert read(tmp_path, KUBERNETES + 'leader = "small"\n' + CLASSES).leader == "small-0"


def test_some_pods_of_a_class_keep_their_names(tmp_path: Path) -> None:
    cluster = read(tmp_path, KUBERNETES + CLASSES, ("small-1", "big"))

    assert [host.name for host in cluster.hosts] == ["big-0", "big-1", "small-1"]
    assert [(group.name, group.hosts) for group in groups(cluster)] == [
        ("big-0", ("big-0",)),
        ("big", ("big-1",)),
        ("small", ("small-1",)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            KUBERNETES + '[[hosts]]\nname = "a"\naddress = "10.0.0.1"\n',
            "hosts.a.address: is not said of a pod, which kubectl reaches",
        ),
        (KUBERNETES + '[[hosts]]\nname = "a"\npartition = "gpu"\n', 'hosts.a.partition: is for connect = "slurm"'),
        (KUBERNETES + '[[hosts]]\nname = "a"\n[slurm]\ntime = "20"\n', r'slurm: is for \[cluster\] connect = "slurm"'),
        (
            KUBERNETES + '[[hosts]]\nname = "a"\n[[hosts]]\nname = "b"\nconnect = "ssh"\n',
            "hosts.b: can't be in one cluster with hosts that are reached otherwise: pods are among themselves",
        ),
        (
            KUBERNETES + '[[hosts]]\nname = "a"\n[[hosts]]\nname = "b"\nconnect = "slurm"\n',
            "hosts.b: can't be in one cluster",
        ),
        (KUBERNETES + '[[hosts]]\nname = "a"\n[kubernetes]\ncontext = "-n"\n', "context: .-n. must not begin with -"),
        (KUBERNETES + '[[hosts]]\nname = "a"\nnodes = 2\n[[hosts]]\nname = "a-1"\n', "a-1 has the name of another"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text)
