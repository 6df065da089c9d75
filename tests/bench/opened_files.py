"""How many files a supervisor, a rank and a verb open, counted by strace in a run of three steps on one demo host.

`opened_files(checkout)` starts it with that checkout's `.venv/bin/motley`. Counted are the files that were opened, each
once for a process with its threads; not folders, nor what lies in /proc, /sys and /dev. A process that was forked and
has started no other program also has what the one it was forked from had opened by then: that is told apart.
Needs strace (`apt install strace`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

RUN_S = 300
CLUSTER = """
[cluster]
connect = "demo"
[[hosts]]
name = "box1"
[run]
task = "simple_cnn/digits"
steps = 3
eval_every = 0
"""
OPENED = re.compile(r'^open(?:at)?\((?:AT_FDCWD, |\d+, )?"([^"]*)", (\S+?)[,)].* += \d+')
FORKED = re.compile(r"^(?:v?fork|clone3?)\((.*)\) += (\d+)$")
STARTED = re.compile(r"^execve\((.*)\) += 0$")
NO_FILES = ("/proc", "/sys", "/dev")


@dataclass
class Traced:
    """A process, from the lines that strace wrote of it and its threads."""

    argv: str = ""  # of the last program that it started; empty in one that was only forked
    inherited: frozenset[str] = frozenset()
    own: set[str] = field(default_factory=set)

    def told(self) -> str:
        return f"{len(self.own)}, and {len(self.inherited - self.own)} before it was forked"


def parse(traces: dict[int, list[str]]) -> dict[int, Traced]:
    """Each process by its number, from the lines of each thread."""
    forked = {int(match[2]) for lines in traces.values() for line in lines if (match := FORKED.match(line))}
    found = {first: Traced() for first in traces.keys() - forked}
    waiting = list(found.items())
    while waiting:
        thread, process = waiting.pop()
        for line in traces.get(thread, ()):
            if match := OPENED.match(line):
                if "O_DIRECTORY" not in match[2] and not match[1].startswith(NO_FILES):
                    process.own.add(match[1])
            elif match := STARTED.match(line):
                process.argv, process.inherited, process.own = match[1], frozenset(), set()
            elif match := FORKED.match(line):
                child = int(match[2])
                if "CLONE_THREAD" in match[1]:
                    waiting.append((child, process))
                else:
                    found[child] = Traced(inherited=frozenset(process.inherited | process.own))
                    waiting.append((child, found[child]))
    return found


def opened_files(checkout: Path) -> dict[str, str]:
    """Of a supervisor, a rank, and the verb `status`. Raises SystemExit when strace is not there, or the run failed."""
    if shutil.which("strace") is None:
        raise SystemExit("strace is not there, which counts the opened files: apt install strace")
    with tempfile.TemporaryDirectory(prefix="opened-") as name:
        folder = Path(name)
        (folder / "cluster.toml").write_text(CLUSTER, encoding="utf-8")
        run = _trace(checkout, folder, "run", "--plain")
        (state,) = folder.glob("home/.motley/demo/*/box1/.motley/runs/*/box1/state.json")
        kept = json.loads(state.read_text(encoding="utf-8"))
        counts = {"a supervisor": run[kept["pid"]].told(), "a rank": run[kept["ranks"][0]["pid"]].told()}
        asked = _trace(checkout, folder, "status", "--json")
        verbs = [one for one in asked.values() if re.search(r'trainer", "status"', one.argv)]
        return {**counts, "the verb status": verbs[0].told()}


def _trace(checkout: Path, folder: Path, *words: str) -> dict[int, Traced]:
    traces = folder / words[0]
    for made in (traces, folder / "home"):
        made.mkdir(exist_ok=True)
    calls = [
        "--seccomp-bpf",
        "-f",
        "-ff",
        "-qq",
        "-s",
        "4096",
        "-e",
        "trace=open,openat,execve,fork,vfork,clone,clone3",
    ]
    argv = ["strace", *calls, "-o", str(traces / "of"), str(checkout / ".venv/bin/motley"), *words]
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, "HOME": str(folder / "home")}, capture_output=True, text=True,
        timeout=RUN_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with status {done.returncode}: {done.stderr[-2000:]}")
    lines = {
        int(file.suffix[1:]): file.read_text(encoding="utf-8", errors="replace").splitlines()
        for file in traces.iterdir()
    }
    return parse(lines)
