"""One checkout's part of a comparison: `cd CHECKOUT; .venv/bin/python .../turn_worker.py startup`, by `against`.

It measures with the benchmark that the checkout itself has, a turn for each line on stdin, and answers each with a line
of JSON: seconds by name. A first answer, without a line, says that the code is on the hosts.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import sys
from typing import Any

answers = os.fdopen(os.dup(1), "w")  # what the benchmark prints is no answer


def answer(seconds: dict[str, float]) -> bool:
    """Whether another turn is asked for."""
    print(json.dumps(seconds), file=answers, flush=True)
    return sys.stdin.readline() != ""


async def startup(bench: Any) -> None:
    async with bench.rehearsal() as stage:
        for number in itertools.count():
            if not answer(await bench.start(stage, number)):
                return


def first_step(bench: Any) -> None:
    with bench.Lab(bench.HOSTS) as lab:
        one = bench.Bench(lab, task=bench.TASK, global_batch=bench.BATCH)
        while answer({"first step": bench.by_motley(one)}):
            pass


def main() -> None:
    os.dup2(2, 1)
    sys.path[0] = os.getcwd()  # where this file lies there may be another checkout
    bench = importlib.import_module(f"tests.bench.bench_{sys.argv[1]}")
    if sys.argv[1] == "startup":
        asyncio.run(startup(bench))
    else:
        first_step(bench)


if __name__ == "__main__":
    main()
