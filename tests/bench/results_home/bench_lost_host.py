"""What comes home of a host that loses its power: `python tests/bench/results_home/bench_lost_host.py`, as root.

A script on rank 0's host writes a small file every 0.2 s, and now and then one of 8 MB. The host loses its power at a
moment that differs from cut to cut. Counted is how old the youngest file must have been at the cut to be here: every
older one is. The promise is 10 s (docs/script.md).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench.results import record
from tests.lab.lab import Lab

CUTS, FILES_S, ENOUGH, PROMISED_S = 6, 0.2, 60, 10.0
WAIT_S = 120.0
SCRIPT = f"""
import os, pathlib, time
out = pathlib.Path("out")
out.mkdir(exist_ok=True)
number = 0
while True:
    if os.environ["RANK"] == "0":
        number += 1
        size = 8 << 20 if number % 25 == 0 else 2_000
        (out / ".part").write_bytes(os.urandom(size))
        (out / ".part").rename(out / f"{{number}}.bin")
    time.sleep({FILES_S})
"""


def wait_for(files: Path, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while len(list(files.glob("*.bin"))) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {count} files in {files} within {WAIT_S:.0f} s")
        time.sleep(0.05)


def ages_at_cut(lab: Lab, number: int) -> tuple[float, float, int]:
    """Of one cut: the age in seconds of the oldest file that is not here, of the youngest that is, and how many are."""
    lab.heal()
    folder = Path(tempfile.mkdtemp(prefix="bench-lost-"))
    (folder / "train.py").write_text(SCRIPT)
    config = lab.cluster_toml(folder, run={"script": "train.py", "results": ["out/*.bin"], "stop_grace_s": 1})
    name = f"cut-{number}"
    words = lab.motley("run", "-c", str(config), "--plain", "--name", name)
    console = lab.popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    here = folder / "experiments" / name / "results/box1/out"
    try:
        there = folder_there(lab, name)
        wait_for(there, ENOUGH)
        time.sleep(0.6 * number)  # so that cuts meet each moment between two looks
        lab["box1"].power_cut()
        cut = time.time()
        written = {path.name: path.stat().st_mtime for path in there.glob("*.bin")}
        time.sleep(5)  # what is still on its way has come
        came = {path.name for path in here.glob("*.bin") if path.stat().st_size}
        lab.exec(lab.motley("stop", name, "-c", str(config)), timeout_s=90, cwd=folder)
    finally:
        console.send_signal(signal.SIGKILL)
        console.wait()
    missing = [cut - time_ for file, time_ in written.items() if file not in came]
    return max(missing, default=0.0), min(cut - time_ for file, time_ in written.items() if file in came), len(came)


def folder_there(lab: Lab, name: str) -> Path:
    """The folder that the script writes into on box1, once it is there."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for folder in (lab["box1"].home / ".motley/runs" / name).glob("*/work/out"):
            return folder
        time.sleep(0.1)
    raise TimeoutError(f"{name} has not begun within {WAIT_S:.0f} s")


def main() -> None:
    with Lab({"box1": 0.6, "box2": 0.6}) as lab:
        cuts = [ages_at_cut(lab, number) for number in range(CUTS)]
    oldest = [missing for missing, _, _ in cuts]
    rows = [
        (f"files that were here, {CUTS} cuts", ", ".join(str(count) for _, _, count in cuts)),
        ("age at the cut of the youngest file that was here, median", f"{median(age for _, age, _ in cuts):.1f} s"),
        ("age of the oldest that was not: median, longest", f"{median(oldest):.1f} s, {max(oldest):.1f} s"),
        ("cuts in which one older than 10 s was not", str(sum(age > PROMISED_S for age in oldest))),
    ]
    text = "A script writes five files a second on a host that loses its power; `results` brings them home."
    print(record("Results of a lost host", text, rows))
    if any(age > PROMISED_S for age in oldest):
        raise SystemExit(f"a file that was unchanged for {PROMISED_S:.0f} s did not come home")


if __name__ == "__main__":
    main()
