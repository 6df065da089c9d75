"""What is wrong with a job that nobody has submitted yet, by what sinfo and scontrol say."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.placement.slurm_check import findings, partitions

SINFO = "gpu*|2|2:00:00|up\ngpu*|1|2:00:00|up\ncpu|16|infinite|up\nold|4|1-00:00:00|drain\n"
TWO = """\
[cluster]
connect = "slurm"
[[hosts]]
name = "fast"
nodes = {nodes}
{partition}
[[hosts]]
name = "slow"
partition = "cpu"
[slurm]
time = "{time}"
"""


def causes(
    folder: Path, *, nodes: int = 2, partition: str = 'partition = "gpu"', time: str = "1:00:00", sinfo: str = SINFO,
    scheduler: str = "sched/backfill",
) -> list[str]:  # fmt: skip
    path = folder / "cluster.toml"
    path.write_text(TWO.format(nodes=nodes, partition=partition, time=time))
    return [found.cause for found in findings(load(path), sinfo, scheduler=scheduler)]


def test_what_the_cluster_has_is_in_order(tmp_path: Path) -> None:
    assert causes(tmp_path) == []
    assert causes(tmp_path, nodes=3, partition="", scheduler="") == []
    assert partitions(SINFO.splitlines())["gpu"].nodes == 3


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"partition": 'partition = "gpus"'}, "Slurm has no partition gpus; it has gpu, cpu, old"),
        ({"partition": "", "sinfo": "cpu|16|infinite|up"}, "Slurm has no partition by default; it has cpu"),
        ({"partition": 'partition = "old"'}, "the partition old is closed"),
        ({"nodes": 4}, "the partition gpu has 3 nodes, 4 are asked for"),
        ({"time": "2:30:00"}, "the partition gpu lets a job have 2:00:00, which is less than [slurm] time"),
        (
            {"scheduler": "sched/builtin"},
            "several classes of nodes are a heterogeneous job, which needs sched/backfill; here it is sched/builtin",
        ),
    ],
)
def test_what_it_has_not_is_told_before_anything_is_submitted(
    tmp_path: Path, given: dict[str, str], cause: str
) -> None:
    assert causes(tmp_path, **given) == [cause]  # type: ignore[arg-type]
