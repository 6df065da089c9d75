"""Takes the place of trainer/verbs/trial.py in the tree that the tests of trials push: it tries nothing.

What it shall do stands in the environment that cluster.toml gives the ranks of the host: `STAND_IN_DOES`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from motley.trainer.contract.calibration import Calibration


def trial(stdin: BinaryIO, stdout: TextIO) -> int:
    asked = Calibration.from_json(stdin.readline())
    does = asked.env.get("STAND_IN_DOES", "try")

    def say(table: dict[str, Any]) -> None:
        print(json.dumps(table), file=stdout, flush=True)

    say({"note": "importing \x1b[31mtorch"})
    if asked.project_tree:
        there = sorted(path.name for path in (Path.home() / ".motley/code" / asked.project_tree).glob("*.py"))
        say({"note": f"{there}, {asked.own_task.parameters if asked.own_task else asked.script}"})
    print("a library greets", file=stdout, flush=True)
    result: dict[str, Any] = {
        "steps": asked.steps, "samples": asked.share, "first_ms": 812.4, "step_ms": 35.2, "pass_limit": None,
        "memory_mib": 412, "total_mib": None,
    }  # fmt: skip
    if asked.script is not None:
        result = {"steps": None, "seconds": 20.04, "ended": False, "memory_mib": 61}
    if does == "fail":
        say({"error": "night.py:31: KeyError: 'no'", "remedy": "Mend it"})
    elif does == "die":
        print("bus error", file=sys.stderr, flush=True)
        os._exit(3)
    elif does == "hang":
        say({"note": "hangs"})
        stdin.read()
    elif does == "lie":
        say({"result": {**result, "memory_mib": "much"}})
    elif does == "small":
        say({"result": {**result, "pass_limit": 16, "total_mib": 8192}})
    else:
        say({"result": result})
    return 0
