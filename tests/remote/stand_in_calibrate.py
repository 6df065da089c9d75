"""Takes the place of trainer/verbs/calibrate.py in the tree that the tests of calibration push: it measures nothing.

What it shall do stands in the environment that cluster.toml gives the ranks of the host: `STAND_IN_DOES`. It notes
when it begins and ends in the file `STAND_IN_LOG`. Where it is to fail it runs until there is one of that name with
`.seen` behind it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from motley.trainer.contract.calibration import Calibration

PACE_S = 0.05


def calibrate(stdin: BinaryIO, stdout: TextIO) -> int:
    asked = Calibration.from_json(stdin.readline())
    does = asked.env.get("STAND_IN_DOES", "measure")

    def log(text: str) -> None:
        with open(asked.env["STAND_IN_LOG"], "ab", buffering=0) as file:
            file.write(text.encode())

    def say(table: dict[str, Any]) -> None:
        print(json.dumps(table), file=stdout, flush=True)

    log("begin\n")
    say({"note": "loading \x1b[31mdata", "fraction": 0.5})
    say({"note": f"python {sys.executable}, data {asked.data.path}"})
    if asked.own_task is not None:
        there = (Path.home() / ".motley/code" / asked.own_task.tree / asked.own_task.file).read_text().strip()
        say({"note": f"{asked.own_task.file} is {there}, {asked.own_task.parameters}"})
    print("a library greets", file=stdout, flush=True)
    signal.sigtimedwait((), PACE_S)
    while does in ("fail", "die", "lie") and not Path(asked.env["STAND_IN_LOG"] + ".seen").exists():
        signal.sigtimedwait((), PACE_S)  # who looks at it while it runs says so
    log("end\n")  # it may be ended as soon as it has answered
    timing = {"batch": asked.batch, "compute_ms": 4.0, "step_ms": 5.0, "noise": 0.02, "steps": 6}
    result = {
        "device_name": f"{asked.speed}, {asked.emulated}, {asked.devices}, {asked.max_batch}", "torch": "2.13.0",
        "threads": 1, "thread_rates": [], "timings": [timing], "parameters": 66154, "gradient_bytes": 264616,
        "max_batch": None, "sample_mib": None, "global_batch": None,
    }  # fmt: skip
    if does == "fail":
        say({"error": "digits: not found", "remedy": "Put it there"})
    elif does == "die":
        print("bus error", file=sys.stderr, flush=True)
        os._exit(3)
    elif does == "hang":
        stdin.read()
    elif does == "lie":
        say({"result": {**result, "timings": [{**timing, "step_ms": float("nan")}]}})
    else:
        say({"ready": True})
        say({"result": result})
    return 0
