"""`python -m motley.console.tracking TRACKER FOLDER --project P`: the process of one tracker.

With `--follow` it goes on until the run ends or its standard input does, which the console holds open; without, it
writes what is there. Both outputs are the library's own, of no use to anybody: the console throws them away.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from pathlib import Path

from motley.console.tracking.track_run import STALL_S, TrackedRun
from motley.console.tracking.trackers import TRACKERS
from motley.remote.errors import MotleyError

# Before any of these libraries is imported: no figures about the user to anybody, no questions, no colours.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}
NICE = 10  # the ranks of this machine come first


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m motley.console.tracking")
    parser.add_argument("tracker", choices=list(TRACKERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--project", required=True)
    parser.add_argument("--mode", default="")
    parser.add_argument("--stall", type=float, default=STALL_S)
    parser.add_argument("--follow", action="store_true")
    given = parser.parse_args()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.nice(NICE)
    try:
        run = _run(given)
    except MotleyError as error:
        print(f"motley: {error}", file=sys.stderr)
        return error.exit_code
    return run.to_the_end(_input_ended if given.follow else lambda _: True)


def _run(given: argparse.Namespace) -> TrackedRun:
    return TrackedRun(given.tracker, given.folder, project=given.project, mode=given.mode, stall_s=given.stall)


def _input_ended(seconds: float) -> bool:
    """Waits that long; at once, once the console has gone."""
    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        if not os.read(sys.stdin.fileno(), 4096):
            return True


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of a library must not keep what has ended
