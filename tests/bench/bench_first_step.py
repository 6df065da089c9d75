"""From the command to the first step, against pdsh and torchrun: `python tests/bench/bench_first_step.py`, as root.

Four real hosts. `motley run` checks every host, imports torch, forms the group and trains; `pdsh` runs torchrun with
the minimal DDP script on all hosts at once and checks nothing. Both find their code on the hosts. They take turns.
Needs pdsh (`apt install pdsh`).
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import against
from tests.bench.lab_runs import RUN_S, SCRIPT, Bench
from tests.bench.results import record
from tests.lab.lab import Lab

TASK, BATCH = "simple_cnn/digits", 64
HOSTS = {"box1": 0.5, "box2": 0.5, "box3": 0.5, "box4": 0.5}
TURNS, STEPS = 5, 3
WITH_PDSH = "pdsh, torchrun"


def by_motley(bench: Bench) -> float:
    """Seconds to the end of the first step."""
    began = time.time()
    run = bench.start(steps=STEPS)
    run.wait()
    return run.step_ends()[0] - began


def by_pdsh(bench: Bench, number: int) -> float:
    """The same, of the minimal script."""
    lab, hosts = bench.lab, list(bench.lab.hosts.values())
    code = next((hosts[0].home / ".motley/code").glob("[0-9a-f]*"))
    for host in hosts:
        (host.home / SCRIPT.name).write_text(SCRIPT.read_text())
    share = BATCH // len(hosts)
    words = ["--task", TASK, "--splits", json.dumps([[share] * len(hosts)]), "--rounds", str(STEPS), "--block", "1"]
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}", "--node-rank=%n",
        "--nproc-per-node=1", f"--master-addr={hosts[0].address}", f"--master-port={29400 + number}",
        SCRIPT.name, *words,
    ]  # fmt: skip
    out = f"first-{number}"
    env = f"PYTHONPATH=~/.motley/code/{code.name} GLOO_SOCKET_IFNAME=eth0 MINIMAL_OUT={out}"
    ssh = lab.ssh_command("%h", f"{env} {shlex.join(torchrun)}")  # pdsh fills in the host, and %n with its number
    began = time.time()
    with lab.popen(
        ["pdsh", "-R", "exec", "-w", ",".join(lab.hosts), *ssh], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        _, said = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, said
    first = json.loads((hosts[0].home / out).read_text().splitlines()[0])
    return float(first["ends"][0]) - began


def main() -> None:
    if against.asked("first_step"):
        return
    if shutil.which("pdsh") is None:
        raise SystemExit("pdsh is not there, which this compares with: apt install pdsh")
    with Lab(HOSTS) as lab:
        bench = Bench(lab, task=TASK, global_batch=BATCH)
        first = by_motley(bench)  # sends the code
        by_pdsh(bench, 0)
        pairs = [(by_motley(bench), by_pdsh(bench, turn)) for turn in range(1, TURNS + 1)]
    ours, theirs = zip(*pairs, strict=True)
    rows = [
        ("motley run, median", f"{median(ours):.1f} s ({', '.join(f'{s:.1f}' for s in ours)})"),
        (f"{WITH_PDSH}, median", f"{median(theirs):.1f} s ({', '.join(f'{s:.1f}' for s in theirs)})"),
        (f"{WITH_PDSH} / motley run, median of the turns", f"{median(b / a for a, b in pairs):.2f}"),
        ("motley run for the first time, with the code sent", f"{first:.1f} s"),
    ]
    text = f"Four hosts of 0.5 cores, `{TASK}`: seconds from the command to the end of the first step, {TURNS} turns."
    print(record("First step", text, rows))


if __name__ == "__main__":
    main()
