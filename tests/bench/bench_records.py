"""What the console and the coordinator do with what ranks say: `python tests/bench/bench_records.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.console.state.store import Store
from motley.remote.sanitize import clean
from motley.trainer.coordinator.membership.group_changes import Ready
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from tests.bench.results import record
from tests.console.scripted import START, layout, sample

RECORDS, LINES, MEMBERS, ROUNDS, TURNS = 16_000, 20_000, 1000, 10, 5
LINE = {
    "plain": "x" * 120,
    "with colours and bars": "\x1b[32mstep\x1b[0m 12\tloss 0.31 ✓ \r" * 4,
    "of open escape sequences": "\x1b]" * 60,
}
HOSTILE = ("\x1b]", "\x1b[1", "\x1b[;", "\x1bP\r", "\t", "\u202e", "\x1b ", "\x9d", "\x90x", "\x9b1")


def spent(work: Callable[[], object]) -> float:
    """CPU seconds, the least of some turns."""
    found = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def store() -> None:
    kept = Store()
    kept.apply(layout(), START)
    for step in range(1, RECORDS // 4 + 1):
        for member in range(4):
            kept.apply(sample(step, member), START)


def roster() -> None:
    kept = GroupStateMachine(range(MEMBERS), lost_after_s=1.5)
    for member in range(MEMBERS):
        kept.connected(member, now=0.0)
        kept.ready(member, Ready(step=0, store=("10.0.0.1", 4711), attempt=member), now=0.0)
    for round_ in range(ROUNDS):
        for member in range(MEMBERS - 1):
            kept.beat(member, step=round_, arrived=round_, now=0.3 * (round_ + 1))
        kept.tick(0.3 * (round_ + 1))


def main() -> None:
    rows = [(f"{RECORDS:,} records taken by the console", f"{spent(store):.2f} s")]
    for name, line in LINE.items():
        rate = LINES / spent(lambda line=line: [clean(line) for _ in range(LINES)])  # type: ignore[misc]
        rows.append((f"lines cleaned a second, {name}", f"{rate:,.0f}"))
    hostile = spent(lambda: [clean(unit * (1_000_000 // len(unit))) for unit in HOSTILE])
    rows.append((f"{len(HOSTILE)} hostile lines of a megabyte", f"{hostile:.2f} s"))
    rows.append((f"{MEMBERS:,} members formed, {ROUNDS} rounds of signs of life, one lost", f"{spent(roster):.2f} s"))
    print(record("Records", f"CPU time, the least of {TURNS} turns.", rows))


if __name__ == "__main__":
    main()
