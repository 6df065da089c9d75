"""How long a check takes that finds something: `python tests/bench/bench_misconfigurations.py`, as root.

Every case of tests/remote/preflight/test_misconfigurations.py, on hosts served on this machine, and every one of
tests/lab/test_misconfigurations.py, on three real hosts. Ends with exit code 1 when one takes 5 seconds or more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.remote.launch.prepare_hosts import preflight
from motley.remote.launch.trial import Trials
from tests.bench.results import record
from tests.lab import test_misconfigurations as machines
from tests.lab.lab import Lab
from tests.remote.preflight import test_misconfigurations as ways
from tests.remote.preflight.misconfigured import CASES, Box, Case
from tests.remote.sshd import Sshd

MOST_S = 5.0


def seconds(case: Case) -> float:
    """Of the check alone, without what starts the console."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as held:
        folder, home, numbers = Path(name), Path(name, "home"), itertools.count()
        home.mkdir()
        os.environ["HOME"] = str(home)
        box = Box(folder, home, lambda *words: held.enter_context(Sshd(folder / f"sshd{next(numbers)}", *words)), held)
        case.inject(box)
        cluster = ways.written(box)
        began = time.monotonic()
        asyncio.run(preflight(cluster, lambda _: None, further=Trials(lambda _: None, train=False)))
        return time.monotonic() - began


def in_the_lab(lab: Lab, case: machines.Case) -> float:
    """Of the command, from its start to its exit."""
    with tempfile.TemporaryDirectory() as name:
        config = lab.cluster_toml(Path(name), run={"task": "simple_cnn/digits"})
        machines.on(lab, case.host, case.inject)
        try:
            began = time.monotonic()
            machines.check(lab, config)
            return time.monotonic() - began
        finally:
            lab.ssh(case.host, case.undo)


def shown(found: dict[str, float]) -> str:
    longest = max(found, key=lambda name: found[name])
    return f"{median(found.values()):.2f}; {found[longest]:.2f}, {longest}"


def main() -> int:
    os.environ.pop("SSH_AUTH_SOCK", None)
    here = {case.name: seconds(case) for case in CASES}
    with Lab(dict.fromkeys(machines.HOSTS)) as lab:
        cases = [case for case in machines.CASES if not case.needs or shutil.which(case.needs)]
        there = {case.name: in_the_lab(lab, case) for case in cases}
    rows = [
        (f"{len(here)} hosts served here, one wrong in each way: median; longest, seconds", shown(here)),
        (f"{len(there)} faults of machines and networks in the lab: median; longest, seconds", shown(there)),
    ]
    text = "The check that names what is wrong; in the lab the whole command `motley check`."
    print(record("Misconfigurations", text, rows))
    return int(max(*here.values(), *there.values()) >= MOST_S)


if __name__ == "__main__":
    sys.exit(main())
