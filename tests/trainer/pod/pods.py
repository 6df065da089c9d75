"""Pods of a run as real processes on this machine: each with a home of its own and the variables of its operator.

with Pods(tmp_path, description) as pods:
    pods.start("gpu", RANK="0", MASTER_ADDR="localhost")
    assert pods.code("gpu") == 0
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.contract.wire import Record, decode
from motley.trainer.host import processes
from motley.trainer.host.paths import run_folder
from motley.trainer.pod.description import Description
from tests.support.lines import whole_lines

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[3]
TOKEN = "5e" * 32
BOUND_S = 300.0  # of a pod's end, on a machine with other work


def description_of(
    *hosts: str, port: int, steps: int = 12, resume: tuple[str, str] = ("", ""), **options: Any
) -> Description:
    """A rank on the CPU in each of these pods. `resume`: what to go on from, and of which run."""
    run = RunOptions(**{"steps": steps, "global_batch": 24, "eval_every": 0, "join_timeout_s": 240.0, **options})
    members = tuple(Member(member=n, host=host, local_rank=0, device="cpu") for n, host in enumerate(hosts))
    spec = Spec(
        run="night", host="", token="", leader=hosts[0], leader_address="", port=port, members=members, options=run,
        balance=BalanceOptions(), elastic=ElasticOptions(hold_s=60.0), data=DataOptions(), env={},
        resume=resume[0] or None, resume_of=resume[1],
    )  # fmt: skip
    return Description(spec=spec, hosts=hosts)


class Pods:
    """`folder` gets a home for each pod, kept when it is started again, as a volume is. They all end with the block."""

    def __init__(self, folder: Path, description: Description | None = None) -> None:
        self.folder = folder
        self.file = folder / "run.json"
        self._started: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._homes: dict[str, Path] = {}  # of the newest of each name
        if description is not None:
            self.file.write_text(description.to_json())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._started:
            self.kill(name)

    def start(self, name: str, home: Path | None = None, /, **environment: str) -> subprocess.Popen[bytes]:
        """Its output goes to a file, as `kubectl logs` keeps it."""
        home = self._homes[name] = home or self.folder / name
        home.mkdir(exist_ok=True)
        given = {"MOTLEY_TOKEN": TOKEN, "MOTLEY_POD_IP": "127.0.0.1", "OMP_NUM_THREADS": "1", **environment}
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **given}
        words = [sys.executable, "-m", "motley.trainer", "pod", "--description", str(self.file)]
        with self.log(name).open("ab") as log:
            pod = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._started.setdefault(name, []).append(pod)
        return pod

    def code(self, name: str) -> int:
        """The exit code of the newest of that name, once it has ended."""
        return self._started[name][-1].wait(BOUND_S)

    def kill(self, name: str) -> None:
        """As when a node goes down: all of its processes at once."""
        pod = self._started[name][-1]
        below = [*processes.tagged(self.run_folder(name)), pod.pid] if pod.poll() is None else []
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pod.wait(BOUND_S)

    def evict(self, name: str) -> None:
        """Its first process is asked to end, as Kubernetes asks."""
        self._started[name][-1].terminate()

    def run_folder(self, name: str) -> Path:
        return run_folder("night", name, self._homes.get(name, self.folder / name))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def records(self, name: str) -> list[Record]:
        """All lines of its output so far, each of which is a record."""
        return [decode(line) for line in whole_lines(self.log(name))]

    def summary(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run_folder(name) / "summary.json").read_bytes())
        return found
