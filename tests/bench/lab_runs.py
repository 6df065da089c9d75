"""Runs on the lab for the benchmarks: Motley's own, and the minimal DDP script's under torchrun."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.lab.lab import Lab

SCRIPT = Path(__file__).with_name("minimal_ddp.py")
RUN_S = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MotleyRun:
    """What one run left: summary.json, and for each step the wall time in ms and the batch of every rank."""

    summary: dict[str, Any]
    step_ms: list[float]
    batches: list[tuple[int, ...]]
    events: list[dict[str, Any]]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == "decision"]

    @property
    def samples_per_s(self) -> float:
        return float(self.summary["samples_per_s"])


class Bench:
    """A lab, and a folder for the experiments. Runs get numbers for names."""

    def __init__(self, lab: Lab, *, task: str, global_batch: int) -> None:
        self.lab = lab
        self.task = task
        self.global_batch = global_batch
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._count = 0

    def config(
        self, *, steps: int = 1, hosts: Sequence[str] = (), batch: int = 0, compress: str = "none", **balance: Any
    ) -> Path:
        """The cluster.toml of such a run."""
        run = {
            "task": self.task, "steps": steps, "global_batch": batch or self.global_batch, "compress": compress,
            "eval_every": 0, "checkpoint_every": 0, "join_timeout_s": 120,
        }  # fmt: skip
        return self.lab.cluster_toml(self._folder, hosts=hosts, run=run, balance=balance)

    def ask(self, verb: str) -> dict[str, Any]:
        """What `motley VERB --json` answers about all hosts."""
        argv = self.lab.motley(verb, "-c", str(self.config()), "--json")
        done = self.lab.exec(argv, cwd=self._folder, timeout_s=RUN_S)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self, **wanted: Any) -> MotleyProcess:
        """A run: `config` says what can be asked for."""
        self._count += 1
        config = self.config(**wanted)
        name = f"{self._folder.name}-{self._count}"
        argv = self.lab.motley("run", "-c", str(config), "--plain", "--name", name)
        process = self.lab.popen(argv, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return MotleyProcess(process, self._folder / "experiments" / name)

    def motley(self, **wanted: Any) -> MotleyRun:
        return self.start(**wanted).wait()

    def minimal(self, splits: Sequence[Sequence[int]], *, rounds: int, block: int = 5) -> dict[tuple[int, ...], float]:
        """Samples/s of each split by the minimal script under torchrun: the median over the last half of its steps."""
        hosts = list(self.lab.hosts.values())
        code = next((hosts[0].home / ".motley/code").glob("[0-9a-f]*"))  # what a Motley run has pushed
        for host in hosts:
            (host.home / SCRIPT.name).write_text(SCRIPT.read_text())
        (hosts[0].home / "minimal.out").unlink(missing_ok=True)
        words = ["--task", self.task, "--splits", json.dumps(splits), "--rounds", str(rounds), "--block", str(block)]
        processes = []
        for number, host in enumerate(hosts):
            command = [
                sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={number}",
                "--nproc-per-node=1", f"--master-addr={hosts[0].address}", "--master-port=29444", SCRIPT.name, *words,
            ]  # fmt: skip
            env = f"PYTHONPATH=~/.motley/code/{code.name} GLOO_SOCKET_IFNAME=eth0 MINIMAL_OUT=minimal.out"
            line = self.lab.ssh_command(host.name, f"{env} {shlex.join(command)}")
            processes.append(self.lab.popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for process in processes:
            _, said = process.communicate(timeout=RUN_S)
            assert process.returncode == 0, said
        times: dict[tuple[int, ...], list[float]] = {}
        for text in (hosts[0].home / "minimal.out").read_text().splitlines():
            row = json.loads(text)
            times.setdefault(tuple(row["split"]), []).extend(row["ms"][1:])
        return {split: sum(split) / median(ms[len(ms) // 2 :]) * 1000 for split, ms in times.items()}


class MotleyProcess:
    """A run under way."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self.folder = folder

    def wait(self) -> MotleyRun:
        out, said = self._process.communicate(timeout=RUN_S)
        assert self._process.returncode == 0, said[-3000:]
        paths = sorted((self.folder / "logs").glob("rank_*_metrics.jsonl"))
        ranks = [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]
        events = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return MotleyRun(
            summary=json.loads(out),
            step_ms=[max(r["step_ms"] for r in step) for step in zip(*ranks, strict=True)],
            batches=[tuple(r["batch"] for r in step) for step in zip(*ranks, strict=True)],
            events=events,
        )

    def steps(self) -> int:
        """Completed so far, as the leader's metrics here show. Fails when the run has ended badly."""
        assert self._process.poll() in (None, 0), self._process.communicate()[1][-3000:]
        path = self.folder / "logs" / "rank_0_metrics.jsonl"
        return len(path.read_bytes().splitlines()) if path.exists() else 0
