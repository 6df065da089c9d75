"""A run in the lab that things happen to: started on the master, watched by looking at the hosts' disks.

with Night(lab, folder, "night-1", steps=600) as night:
    night.until(lambda: night.step() >= 25, "step 25")
    begin(night, fault)
    summary = night.end()
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.lab.lab import Lab

START_S, END_S = 180.0, 480.0
LOOK_S = 0.05
STORY = 200  # events, when something went wrong


def whole(line: str) -> bool:
    """Not what a full disk has cut short."""
    return line.startswith("{") and line.endswith("}") and line.count('"type":') == 1


def steps_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """What a rank's file has of steps. A script that has not called yet has lines of its own there."""
    rows = [json.loads(line) for line in lines if whole(line)]
    return [row for row in rows if row["type"] == "sample"]


class Night:
    """`motley run --plain` under way. Options of `[run]` and sections are as `Lab.cluster_toml` takes them."""

    def __init__(self, lab: Lab, folder: Path, name: str, *, run: dict[str, Any], **sections: Any) -> None:
        self.lab = lab
        self.name = name
        self.folder = folder / "experiments" / name
        self._config = lab.cluster_toml(folder, run=run, **sections)
        self._said: list[IO[bytes]] = []
        self._process = self._console("run", "--name", name)
        self._hosts = {host: box.home / ".motley/runs" / name / host for host, box in lab.hosts.items()}

    def __enter__(self) -> Night:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for said in self._said:
            said.close()

    # What it is asked

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Of all hosts, by time; what a full disk has cut short is left out."""
        found: list[dict[str, Any]] = []
        for folder in self._hosts.values():
            path = folder / "events.jsonl"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            found += [json.loads(line) for line in lines if f'"kind":"{kind}"' in line and whole(line)]
        return sorted(found, key=lambda event: event["time"])

    def samples(self, host: str, member: int) -> list[dict[str, Any]]:
        """What a rank has written of its steps."""
        paths = sorted(self._hosts[host].glob(f"rank_{member}*.jsonl"))
        lines = [line for path in paths for line in path.read_text(errors="replace").splitlines()]
        return steps_of(lines)

    def group(self) -> tuple[int, frozenset[str]]:
        """The newest generation, and its hosts."""
        newest = max((e["data"] for e in self.events("group")), key=lambda d: d["generation"], default=None)
        return (-1, frozenset()) if newest is None else (
            newest["generation"], frozenset(m["host"] for m in newest["members"])
        )  # fmt: skip

    def leader(self) -> str:
        """Where the coordinator is."""
        newest = max(self.events("leader"), key=lambda e: e["data"]["term"], default=None)
        return next(iter(self.lab.hosts)) if newest is None else newest["data"]["leader"]

    def step(self) -> int:
        """The newest that a rank has completed."""
        newest = 0
        for folder in self._hosts.values():
            for path in folder.glob("rank_*.jsonl"):
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - 2000))
                    lines = file.read().split(b"\n")[1:]
                newest = max([newest, *(row["step"] for row in steps_of(line.decode() for line in lines[-3:]))])
        return newest

    def pid(self, host: str, word: str) -> int | None:
        """Of the process on a host whose command line holds the word; None when there is none."""
        if not self.lab[host].is_up:
            return None
        for pid in self.lab[host].processes(self.name):
            try:
                if word in Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
            except (FileNotFoundError, ProcessLookupError):
                continue
        return None

    def left(self) -> dict[str, list[int]]:
        """Processes of the run on hosts that are up."""
        return {name: pids for name, box in self.lab.hosts.items() if (pids := box.processes(self.name))}

    def said(self) -> str:
        """What happened on the hosts, and what the consoles have printed on standard error."""
        events = []
        for folder in self._hosts.values():
            path = folder / "events.jsonl"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            events += [json.loads(line) for line in lines if whole(line)]
        texts = [
            "\n".join(
                f"{time.strftime('%H:%M:%S', time.localtime(e['time']))}.{int(e['time'] * 100) % 100:02d} {e['host']} "
                f"{e['source']}: {e['text']}"
                for e in sorted(events, key=lambda e: e["time"])[-STORY:]
                if e["kind"] not in ("decision", "realised")
            )
        ]
        for file in self._said:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return "\n--- console\n".join(texts)

    def until(self, true: Callable[[], bool], what: str, within_s: float = START_S) -> float:
        """Wait; seconds it took. Fails when it does not come true, or the run ends before."""
        began = time.monotonic()
        while not true():
            assert self._process.poll() in (None, 0, -signal.SIGKILL), self.said()
            waited = time.monotonic() - began
            assert waited < within_s, f"not within {within_s:.0f} s: {what}\n{self.said()}"
            time.sleep(LOOK_S)  # it is another process's doing: there is nothing to await
        return time.monotonic() - began

    @property
    def over(self) -> bool:
        """The console has seen the run's end."""
        return self._process.poll() == 0

    # What is done to it

    def kill_console(self) -> None:
        self._process.kill()
        self._process.wait()

    def new_console(self) -> None:
        """`motley attach`, after the one before was killed."""
        if self._process.poll() is not None:
            self._process = self._console("attach", self.name)

    def interrupt(self) -> None:
        """Ctrl-C in the console, which stops the run; one that is only starting would end alone, or not hear it."""
        kept = self._kept_bytes()
        self.until(lambda: self._kept_bytes() > kept, "the console follows the run")
        self._process.send_signal(signal.SIGINT)

    def _kept_bytes(self) -> int:
        """Of metrics beside cluster.toml."""
        return sum(path.stat().st_size for path in (self.folder / "logs").glob("rank_*_metrics.jsonl"))

    def wait(self, within_s: float) -> int:
        """The console's exit code."""
        return self._process.wait(timeout=within_s)

    def motley(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line on this run's cluster, beside the console that watches."""
        argv = self.lab.motley(words[0], *words[1:], "-c", str(self._config))
        return self.lab.exec(argv, cwd=self._config.parent)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """As `motley`, not waited for."""
        argv = self.lab.motley(words[0], *words[1:], "-c", str(self._config))
        nowhere = subprocess.DEVNULL
        return self.lab.popen(argv, cwd=self._config.parent, stdout=nowhere, stderr=nowhere)

    def end(self) -> dict[str, Any]:
        """Wait for the run's end; its summary. Fails when it ends badly."""
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {END_S:.0f} s\n{self.said()}") from None
        assert self._process.returncode == 0, self.said()
        summary: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return summary

    def _console(self, verb: str, *words: str) -> subprocess.Popen[str]:
        argv = self.lab.motley(verb, *words, "-c", str(self._config), "--plain")
        said = (self._config.parent / f"{self.name}-{len(self._said)}.err").open("w+b")
        self._said.append(said)
        return self.lab.popen(argv, cwd=self._config.parent, stdout=subprocess.DEVNULL, stderr=said)
