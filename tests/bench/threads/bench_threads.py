"""Threads on a host whose quota can't be seen: `python tests/bench/threads/bench_threads.py`, as root.

A real host of 0.4 cores, from which the control groups are hidden: it seems to have all cores of this machine. Runs
take turns: with one thread, with all, with all whose waiting does not spin (OMP_WAIT_POLICY), and with what the run
finds by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench.lab_runs import RUN_S, Bench, MotleyProcess, MotleyRun
from tests.bench.results import record
from tests.lab.lab import Lab

TASK, BATCH, STEPS, ROUNDS = "simple_cnn/digits", 64, 40, 2
HOST, CORES = "box1", 0.4
# In the host's own mount namespace; never where that would reach the machine's.
HIDE = """
! grep -q 'shared:.* - cgroup' /proc/self/mountinfo || exit 1
awk '$3 ~ /^cgroup/ {print $2}' /proc/self/mounts | tac | while read -r point; do umount -l "$point" 2>&-; done
! ls /sys/fs/cgroup/cpu*/*quota_us /sys/fs/cgroup/cpu.max 2>&-
"""
PASSIVE = '[defaults]\nenv = { OMP_WAIT_POLICY = "PASSIVE" }'


def run(lab: Lab, folder: Path, name: str, *, threads: int | None, extra: str = "") -> MotleyRun:
    options = {"task": TASK, "global_batch": BATCH, "steps": STEPS, "eval_every": 0, "checkpoint_every": 0}
    options |= {"threads": threads} if threads else {}
    config = lab.cluster_toml(folder, run=options, extra=extra)
    argv = lab.motley("run", "-c", str(config), "--plain", "--detach", "--name", name)
    done = lab.exec(argv, cwd=folder, timeout_s=RUN_S)
    assert done.returncode == 0, done.stderr
    return MotleyProcess(lab, name, config, [HOST], Bench.is_rank_0).wait()


def main() -> None:
    most = len(os.sched_getaffinity(0))
    cases: dict[str, tuple[int | None, str]] = {
        "1 thread": (1, ""), f"{most} threads": (most, ""), f"{most} threads that wait passively": (most, PASSIVE),
        "found by the run": (None, ""),
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in cases}
    said: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    with Lab({HOST: CORES}) as lab:
        hidden = lab.ssh(HOST, HIDE)
        assert hidden.returncode == 0, hidden.stderr
        for turn in range(ROUNDS):
            for number, (name, (threads, extra)) in enumerate(cases.items()):
                done = run(lab, folder, f"{folder.name}-{turn}-{number}", threads=threads, extra=extra)
                found[name].append(done.samples_per_s)
                said += [event["text"] for event in done.events if event["kind"] == "threads"]
    assert said, "the run has found nothing: are the control groups still to be seen?"
    one = median(found["1 thread"])
    rows = [
        (
            f"{name}, against 1 thread",
            f"{median(rates) / one:.2f} ({', '.join(f'{rate:.0f}' for rate in rates)} samples/s)",
        )
        for name, rates in found.items()
    ]
    rows += [("the run said", text) for text in said]
    text = f"A host of {CORES} cores whose control groups can't be seen, `{TASK}`, batch {BATCH}; runs take turns."
    print(record("Threads", text, rows))


if __name__ == "__main__":
    main()
