"""cluster.toml where hosts are classes of nodes: their names, and what is of no use there or elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import ConfigError

SLURM = '[cluster]\nconnect = "slurm"\n'


def read(folder: Path, text: str, only: tuple[str, ...] = ()) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(text)
    return load(path, (), only)


def test_a_class_has_a_host_for_each_node(tmp_path: Path) -> None:
    text = SLURM + '[[hosts]]\nname = "fast"\nnodes = 2\npartition = "gpu"\nmax_batch = 8\n[[hosts]]\nname = "slow"\n'

    cluster = read(tmp_path, text)

    assert [host.name for host in cluster.hosts] == ["fast-1", "fast-2", "slow"]
    assert [host.slurm.of for host in cluster.hosts if host.slurm] == ["fast", "fast", "slow"]
    assert [host.max_batch for host in cluster.hosts] == [8, 8, None]
    assert cluster.leader == "fast-1"
    assert cluster.slurm is not None
    assert [host.name for host in read(tmp_path, text, ("fast",)).hosts] == ["fast-1", "fast-2"]
    assert [host.name for host in read(tmp_path, text, ("fast-2", "slow")).hosts] == ["fast-2", "slow"]


def test_the_leader_is_a_node(tmp_path: Path) -> None:
    hosts = '[[hosts]]\nname = "fast"\nnodes = 2\n'

    assert read(tmp_path, SLURM + 'leader = "fast-2"\n' + hosts).leader == "fast-2"
    with pytest.raises(ConfigError, match="there is no host fast;"):
        read(tmp_path, SLURM + 'leader = "fast"\n' + hosts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[hosts]]\nname = "box1"\nnodes = 2\n',
            r'hosts.box1.nodes: is 2, which is for connect = "slurm"',
        ),
        ('[[hosts]]\nname = "box1"\n[slurm]\ntime = "10"\n', r'slurm: is for \[cluster\] connect = "slurm"'),
        (SLURM + '[[hosts]]\nname = "n"\naddress = "n.lan"\n', r"hosts.n.address: is not said of a node"),
        (
            SLURM + '[[hosts]]\nname = "n"\n[[hosts]]\nname = "box"\nconnect = "ssh"\n',
            r"can't be in one cluster with hosts that are reached otherwise",
        ),
        (
            SLURM + '[[hosts]]\nname = "n"\nnodes = 2\n[[hosts]]\nname = "n-2"\n',
            r"its machine n-2 has the name of another host",
        ),
        (SLURM + '[[hosts]]\nname = "n"\npartition = "a b"\n', r"hosts.n.partition: \"a b\" holds a space"),
        (SLURM + '[[hosts]]\nname = "n"\nsbatch = ["--gres gpu:1"]\n', r"which is no option in one word"),
        (SLURM + '[[hosts]]\nname = "n"\nsbatch = ["--nodes=3"]\n', r'has "--nodes", which Motley sets itself'),
        (SLURM + '[[hosts]]\nname = "n"\n[slurm]\nuser = "ada"\n', r"slurm.user: is for a login node"),
        (
            SLURM + '[[hosts]]\nname = "n"\n[slurm]\ntime = "4:30"\nrequeue = true\n',
            r"slurm.time: is too short for warning_s = 120",
        ),
        (
            SLURM + '[[hosts]]\nname = "n"\n[slurm]\nrequeue = true\n[run]\nscript = "train.py"\n',
            r"slurm.requeue: is not for the script train.py",
        ),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text)
