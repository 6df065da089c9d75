"""Runs on the lab for the benchmarks: Motley's own, and the minimal DDP script's under torchrun."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.lab.host import LabHost
from tests.lab.lab import Lab

SCRIPT = Path(__file__).with_name("minimal_ddp.py")
RUN_S = 400.0

IsIt = Callable[[Sequence[str], Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotleyRun:
    """What one run left: summary.json, and of each step the wall time in ms, the ranks' batches, the mean loss."""

    summary: dict[str, Any]
    step_ms: list[float]
    batches: list[tuple[int, ...]]
    losses: list[float]
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
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._count = 0

    def run_keys(self, *, steps: int, batch: int, compress: str) -> dict[str, Any]:
        """What [run] says."""
        return {
            "task": self.task, "steps": steps, "global_batch": batch, "compress": compress,
            "eval_every": 0, "checkpoint_every": 0, "join_timeout_s": 120,
        }  # fmt: skip

    @staticmethod
    def is_rank_0(words: Sequence[str], environ: Mapping[str, str]) -> bool:
        """Whether a process of a run, on the host of its rank 0, is that rank, by its command line and environment."""
        del environ
        return list(words[1:4]) == ["-m", "motley.trainer", "rank"]

    def config(
        self, *, steps: int = 1, hosts: Sequence[str] = (), batch: int = 0, compress: str = "none", **balance: Any
    ) -> Path:
        """The cluster.toml of such a run."""
        run = self.run_keys(steps=steps, batch=batch or self.global_batch, compress=compress)
        cluster = {"port": 29500 + 2 * self._count}  # runs may overlap; a loop of the user's own takes two
        elastic = {"lost_after_s": 1e6, "stuck_after_s": 1e6}  # runs that take turns are stopped for long
        return self.lab.cluster_toml(
            self.folder, hosts=hosts, cluster=cluster, run=run, balance=balance, elastic=elastic
        )

    def ask(self, verb: str) -> dict[str, Any]:
        """What `motley VERB --json` answers about all hosts."""
        argv = self.lab.motley(verb, "-c", str(self.config()), "--json")
        done = self.lab.exec(argv, cwd=self.folder, timeout_s=RUN_S)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self, **wanted: Any) -> MotleyProcess:
        """A run: `config` says what can be asked for."""
        self._count += 1
        name = f"{self.folder.name}-{self._count}"
        config = self.config(**wanted).rename(self.folder / f"{name}.toml")  # runs overlap, of other hosts perhaps
        argv = self.lab.motley("run", "-c", str(config), "--plain", "--detach", "--name", name)
        done = self.lab.exec(argv, cwd=self.folder, timeout_s=RUN_S)
        assert done.returncode == 0, done.stderr
        hosts = list(wanted.get("hosts", ())) or list(self.lab.hosts)
        return MotleyProcess(self.lab, name, config, hosts, self.is_rank_0)

    def motley(self, **wanted: Any) -> MotleyRun:
        return self.start(**wanted).wait()

    def minimal(self, splits: Sequence[Sequence[int]], *, rounds: int, block: int = 5) -> dict[tuple[int, ...], float]:
        """Samples/s of each split by the minimal script under torchrun: the median over the last half of its steps."""
        script = self.start_minimal(splits, rounds=rounds, block=block)
        script.wait()
        times: dict[tuple[int, ...], list[float]] = {}
        for row in script.rows():
            times.setdefault(tuple(row["split"]), []).extend(row["ms"][1:])
        return {split: sum(split) / median(ms[len(ms) // 2 :]) * 1000 for split, ms in times.items()}

    def start_minimal(self, splits: Sequence[Sequence[int]], *, rounds: int, block: int = 5) -> TorchrunProcess:
        """The minimal script under torchrun, on all hosts."""
        words = ["--task", self.task, "--splits", json.dumps(splits), "--rounds", str(rounds), "--block", str(block)]
        return self.start_torchrun([SCRIPT], words)

    def start_torchrun(self, files: Sequence[Path], words: Sequence[str]) -> TorchrunProcess:
        """The first of the files under torchrun, on all hosts; the others lie beside it."""
        self._count += 1
        hosts = list(self.lab.hosts.values())
        code = next((hosts[0].home / ".motley/code").glob("*/motley")).parent  # what a Motley run has pushed
        for host in hosts:
            for file in files:
                (host.home / file.name).write_text(file.read_text())
        name, script = f"minimal-{self._count}", files[0].name
        processes = []
        for number, host in enumerate(hosts):
            command = [
                sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={number}",
                "--nproc-per-node=1", f"--master-addr={hosts[0].address}", f"--master-port={29300 + self._count}",
                script, *words,
            ]  # fmt: skip
            env = f"PYTHONPATH=~/.motley/code/{code.name} GLOO_SOCKET_IFNAME=eth0 MINIMAL_OUT={name} MOTLEY_RUN={name}"
            env += " OMP_NUM_THREADS=1"  # with more, a quota burns in waiting
            line = self.lab.ssh_command(host.name, f"{env} {shlex.join(command)}")
            processes.append(self.lab.popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        return TorchrunProcess(name, script, hosts, processes)


def process_of(host: LabHost, run: str, is_it: IsIt) -> int | None:
    """The PID of a run's process on a host, by its command line and its environment."""
    for pid in host.processes(run):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            environ = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if is_it(words, dict(pair.split("=", 1) for pair in environ if "=" in pair)):
            return pid
    return None


def _samples(path: Path) -> list[dict[str, Any]]:
    """What a rank's file has of steps: whole lines. What its script takes of the host before it calls is there, too."""
    rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return [row for row in rows if row["type"] == "sample"]


class TorchrunProcess:
    """A script under way on all hosts, whose rank 0 writes rows into the file that MINIMAL_OUT names."""

    def __init__(
        self, name: str, script: str, hosts: Sequence[LabHost], processes: Sequence[subprocess.Popen[str]]
    ) -> None:
        self._name = name
        self._script = script
        self._hosts = hosts
        self._processes = processes

    def rows(self) -> list[dict[str, Any]]:
        path = self._hosts[0].home / self._name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def rank_0(self) -> int | None:
        return process_of(self._hosts[0], self._name, lambda words, env: self._script in words and "LOCAL_RANK" in env)

    def step_ends(self) -> list[float]:
        return [end for row in self.rows() for end in row["ends"]]

    def wait(self) -> None:
        for process in self._processes:
            _, said = process.communicate(timeout=RUN_S)
            assert process.returncode == 0, said

    def end(self) -> None:
        for host in self._hosts:
            for pid in host.processes(self._name):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.communicate(timeout=30)


class MotleyProcess:
    """A run under way. Nobody watches it: the lab's master shares the cores of its hosts, and would be in their way."""

    def __init__(self, lab: Lab, run: str, config: Path, hosts: Sequence[str], is_rank_0: IsIt) -> None:
        self._lab = lab
        self._is_rank_0 = is_rank_0
        self._run = run
        self._config = config
        self._first = lab[hosts[0]]
        self._folders = [lab[name].home / ".motley/runs" / run / name for name in hosts]

    def wait(self) -> MotleyRun:
        """Until it has ended everywhere. Fails when it ended badly."""
        deadline = time.monotonic() + RUN_S
        while (states := {self._state(folder) for folder in self._folders}) != {"finished"}:
            assert not {"failed", "lost", "stopped"} & states, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.2)  # other processes' doing: there is nothing to await
        lines = [line for f in self._folders for line in (f / "events.jsonl").read_text().splitlines()]
        again = [event["text"] for event in map(json.loads, lines) if event["kind"] == "rank_killed"]
        assert not again, f"a rank's process was started again: {', '.join(again)}\n{self._said()}"
        files: dict[int, list[Path]] = {}
        for path in sorted(path for folder in self._folders for path in folder.glob("rank_*.jsonl")):
            files.setdefault(int(path.name.removeprefix("rank_").split(".")[0]), []).append(path)
        ranks = [[row for path in paths for row in _samples(path)] for _, paths in sorted(files.items())]
        return MotleyRun(
            summary=json.loads((self._folders[0] / "summary.json").read_text()),
            step_ms=[max(r["step_ms"] for r in step) for step in zip(*ranks, strict=True)],
            batches=[tuple(r["batch"] for r in step) for step in zip(*ranks, strict=True)],
            losses=[
                sum(r["loss"] * r["batch"] for r in step if r["batch"]) / sum(r["batch"] for r in step)
                for step in zip(*ranks, strict=True)
            ],
            events=sorted(map(json.loads, lines), key=lambda event: event["time"]),
        )

    def steps(self) -> int:
        """Completed so far."""
        return len(self.step_ends())

    def rank_0(self) -> int | None:
        return process_of(self._first, self._run, self._is_rank_0)

    def step_ends(self) -> list[float]:
        return [row["time"] for path in sorted(self._folders[0].glob("rank_0*.jsonl")) for row in _samples(path)]

    def end(self) -> None:
        argv = self._lab.motley("stop", self._run, "-c", str(self._config))
        done = self._lab.exec(argv, cwd=self._config.parent)
        assert done.returncode == 0, done.stderr

    def _state(self, folder: Path) -> str:
        path = folder / "state.json"
        return str(json.loads(path.read_text())["state"]) if path.exists() else ""

    def _said(self) -> str:
        return "\n".join((folder / "events.jsonl").read_text()[-1500:] for folder in self._folders)
