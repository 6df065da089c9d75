"""How long Motley's own part of a start takes on 16 hosts: `python tests/bench/bench_startup.py`.

Everything but importing torch and the rendezvous: connecting, checking, pushing, starting the supervisors and ranks.
The hosts are served over SSH on loopback by this process and their ranks import no torch, so all of it shares this
machine's cores, which separate machines would not. In the first start the trainer is sent, in the others it is there.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.trainer.contract.wire import Event, Sample
from tests.bench import against
from tests.bench.results import record
from tests.remote.stage import Seen, Stage, rehearsal

HOSTS, TURNS = 16, 5
PACE_S = "1.0"  # of a stand-in's step


async def start(stage: Stage, number: int) -> dict[str, float]:
    """Seconds from the command to ranks started everywhere, to the first step, and in each phase."""
    seen = Seen()
    hosts = {f"box{n:02d}": "" for n in range(HOSTS)}
    session = stage.session(f"run-{number}", seen, stage.cluster(hosts=hosts, PACE_S=PACE_S))
    began = time.monotonic()
    await session.launch()
    launched = time.monotonic()
    if not any(isinstance(record, Sample) for record in seen.records):
        await seen.until(lambda record: isinstance(record, Sample))
    stepped = time.monotonic()
    await session.stop("measured")
    await session.close()
    assert any(isinstance(record, Event) and record.kind == "group" for record in seen.records)
    phases = stage.summary(f"run-{number}")["phases"]
    return {
        "launched": launched - began,
        "first step": stepped - began,
        **{name: phases[name] for name in ("connect_s", "push_s", "rendezvous_s")},
    }


async def measure() -> list[dict[str, float]]:
    async with rehearsal() as stage:
        return [await start(stage, number) for number in range(TURNS)]


def main() -> None:
    if against.asked("startup"):
        return
    first, *others = asyncio.run(measure())

    def row(name: str) -> str:
        return f"{first[name]:.2f}; then {median(turn[name] for turn in others):.2f} s"

    rows = [
        ("from the command to all ranks started, first start; then the median", row("launched")),
        ("of that: connecting and being checked", row("connect_s")),
        ("of that: pushing", row("push_s")),
        ("from the command to the first step seen", row("first step")),
    ]
    text = f"{HOSTS} hosts served on loopback, whose ranks import no torch; {TURNS} starts."
    print(record("Start-up", text, rows))


if __name__ == "__main__":
    main()
