"""Unequal shares against equal ones, on two classes of nodes of a real Slurm: `make bench-slurm`, as root.

Two jobs of the same cluster.toml have the same four nodes, a core of each, and take turns by the second
(`tests/bench/contest.py`): one balances, the other has equal shares. Takes about five minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench.contest import contest, interval, ratios
from tests.bench.lab_runs import Bench, process_of
from tests.bench.results import record
from tests.slurm.slurm import Slurm, why_not

NODES = {"fast1": 0.6, "fast2": 0.6, "slow1": 0.2, "slow2": 0.2}  # cores
BATCH, ENDLESS, ROUNDS, START_S = 256, 1_000_000, 8, 180.0
WANTED = 1.4
CONFIG = """\
[cluster]
connect = "slurm"
port = {port}
[defaults]
python = "{python}"
[[hosts]]
name = "fast"
nodes = 2
partition = "fast"
[[hosts]]
name = "slow"
nodes = 2
partition = "slow"
[slurm]
time = "60"
[run]
task = "simple_cnn/fashion_mnist"
steps = {steps}
global_batch = {batch}
eval_every = 0
checkpoint_every = 0
join_timeout_s = 120
[elastic]
lost_after_s = 1e6
stuck_after_s = 1e6
[balance]
{balance}
"""


class JobRun:
    """A run under way in a job, with nobody who watches it."""

    def __init__(self, slurm: Slurm, folder: Path, name: str, *, port: int, balance: str) -> None:
        self._slurm, self._name = slurm, name
        self._config = folder / name / "cluster.toml"
        self._config.parent.mkdir()
        given = {"port": port, "python": slurm.python, "steps": ENDLESS, "batch": BATCH, "balance": balance}
        self._config.write_text(CONFIG.format(**given))
        self._motley("run", "--plain", "--detach", "--name", name, "-c", str(self._config))
        self._first = slurm.lab["fast1"]
        self._folder = self._first.home / ".motley/runs" / name / "fast-1"

    def _motley(self, *words: str) -> None:
        done = self._slurm.exec(self._slurm.lab.motley(*words), timeout_s=START_S)
        assert done.returncode == 0, done.stderr

    def rank_0(self) -> int | None:
        return process_of(self._first, self._name, Bench.is_rank_0)

    def rows(self) -> list[dict[str, Any]]:
        lines = [line for path in self._folder.glob("rank_0*.jsonl") for line in path.read_text().split("\n")[:-1]]
        return [row for row in map(json.loads, lines) if row["type"] == "sample"]

    def step_ends(self) -> list[float]:
        return [row["time"] for row in self.rows()]

    def end(self) -> None:
        self._motley("stop", self._name, "-c", str(self._config))


def main() -> int:
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    runs: dict[str, JobRun] = {}
    with Slurm(NODES, binds=False) as slurm, tempfile.TemporaryDirectory() as folder:

        def start(name: str, port: int, balance: str) -> JobRun:
            runs[name] = JobRun(slurm, Path(folder), name, port=port, balance=balance)
            return runs[name]

        shares = ", ".join([str(BATCH // len(NODES))] * len(NODES))
        found = contest(
            {
                "balanced": lambda: start("balanced", 29500, 'policy = "dynamic"'),
                "equal": lambda: start("equal", 29510, f'policy = "static"\nshares = [{shares}]'),
            },
            batch=BATCH,
            rounds=ROUNDS,
            start_s=START_S,
        )
        settled = int(median(row["batch"] for row in runs["balanced"].rows()[-50:]))
    gained = ratios(found["balanced"], found["equal"])
    cores = "/".join(f"{share:g}" for share in NODES.values())
    rows = [
        ("samples of a step on fast-1, balanced", f"{settled} of {BATCH}"),
        ("unequal shares / equal shares", interval(gained)),
        *((f"{name}, samples/s, median", f"{median(rates):,.0f}") for name, rates in found.items()),
    ]
    text = f"A heterogeneous job of nodes of {cores} cores, `simple_cnn/fashion_mnist`, global batch {BATCH}."
    print(record("Slurm", f"{text} Two jobs on the same nodes took turns by the second.", rows))
    return int(mean(gained) < WANTED)


if __name__ == "__main__":
    sys.exit(main())
