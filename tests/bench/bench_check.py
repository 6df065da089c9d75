"""`motley check` on 16 hosts: `python tests/bench/bench_check.py`.

The hosts are served over SSH on loopback by the command itself, so their programs and the console share this machine's
cores, which separate machines would not. Measured: the command from its start to its exit, all in order; and with one
host more, whose sshd takes the connection and says nothing, the slowest fault there is. Ends with exit code 1 when
either takes 5 seconds or more.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.results import record

ROOT = Path(__file__).resolve().parents[2]
HOSTS, TURNS, MOST_S = 16, 7, 5.0


def main() -> int:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as silent:
        home = Path(name)
        served = "".join(f'[[hosts]]\nname = "box{n}"\nconnect = "demo"\n' for n in range(HOSTS))
        frozen = f'[[hosts]]\nname = "frozen"\naddress = "127.0.0.1"\nport = {silent.getsockname()[1]}\n'
        good = [check(home, served) for _ in range(TURNS)]
        bad = [check(home, served + frozen) for _ in range(TURNS)]
    for _, answer in good:
        assert answer == {"ok": True, "findings": []}, answer
    for _, answer in bad:
        assert [(f["host"], f["check"]) for f in answer["findings"]] == [("frozen", "reachable")], answer
    rows = [
        ("16 hosts in order, seconds", shown([s for s, _ in good])),
        ("and a 17th whose sshd says nothing, seconds", shown([s for s, _ in bad])),
    ]
    text = f"`motley check` from its start to its exit, {HOSTS} hosts served on loopback by the command itself."
    print(record("Check", text, rows))
    return int(max(median(s for s, _ in turns) for turns in (good, bad)) >= MOST_S)


def check(home: Path, hosts: str) -> tuple[float, dict[str, Any]]:
    """How long the command took, and what it said."""
    (home / "cluster.toml").write_text(f'[cluster]\nname = "bench"\nport = {free_port()}\n{hosts}')
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "motley.console", "check", "--json"],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return time.monotonic() - began, json.loads(done.stdout)


def shown(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} runs)"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
