"""`motley plan` against what is then measured: `python tests/bench/bench_plan.py [fast_links | slow_links]`, as root.

On the lab's four hosts of 0.8, 0.4, 0.2 and 0.2 cores: once with a small model and fast links, once with 23 MB of
gradients and links of 100 Mbit/s, where the right advice is another one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.lab_runs import Bench
from tests.bench.results import record
from tests.lab.lab import Lab

FAST, HEAVY = "simple_cnn/fashion_mnist", "mlp/fashion_mnist"
BATCH, MBIT = 256, 100.0
Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One option of the plan, and how long to run it."""

    hosts: tuple[str, ...]
    batch: int = BATCH
    compress: str = "none"
    steps: int = 60

    @property
    def name(self) -> str:
        who = "all 4 hosts" if len(self.hosts) == 4 else ", ".join(self.hosts)
        return f"{who}, batch {self.batch:,}" + (f", {self.compress}" if self.compress != "none" else "")


def predicted(plan: dict[str, Any], case: Case) -> float:
    for option in plan["options"]:
        if (tuple(option["hosts"]), option["global_batch"], option["compress"]) == (
            case.hosts, case.batch, case.compress,
        ):  # fmt: skip
            return float(option["samples_per_s"])
    raise LookupError(f"the plan has no option {case.name}")


def measure(bench: Bench, plan: dict[str, Any], cases: Sequence[Case]) -> tuple[Rows, list[float], Rows]:
    """A row for each case with its prediction, the relative errors, and rows of the advice that runs gave."""
    rows: Rows = []
    errors: list[float] = []
    said: Rows = []
    for case in cases:
        foreseen = predicted(plan, case)
        run = bench.motley(
            steps=case.steps, hosts=case.hosts, batch=case.batch, compress=case.compress, policy="dynamic"
        )
        errors.append(foreseen / run.samples_per_s - 1)
        rows.append((case.name, f"{foreseen:,.0f} predicted, {run.samples_per_s:,.0f} measured: {errors[-1]:+.1%}"))
        print(*rows[-1], flush=True)
        advice = [event["text"] for event in run.events if event["kind"] == "advice"]
        if advice:
            said.append((f"said while it ran: {case.name}", advice[0]))
    return rows, errors, said


def fastest(rows: Sequence[tuple[str, str]], cases: Sequence[Case], batch: int, *, by: str) -> str:
    """Name of the fastest case of a batch, by the figure that `predicted` or `measured` names."""

    def figure(row: tuple[str, str]) -> float:
        return float(row[1].split(f" {by}")[0].split()[-1].replace(",", ""))

    found = max((row for row, case in zip(rows, cases) if case.batch == batch), key=figure)
    return found[0]


def fast_links(lab: Lab) -> None:
    everybody = tuple(lab.hosts)
    bench = Bench(lab, task=FAST, global_batch=BATCH)
    plan = planned(bench)
    rows, errors, said = measure(bench, plan, [Case(hosts=everybody[:n]) for n in (4, 3, 2, 1)])
    rows.append(("error, median and largest", f"{median(map(abs, errors)):.1%}, {max(map(abs, errors)):.1%}"))
    rows += said
    rows.append(("its advice", plan["advice"][0]))
    print(record("Plan, fast links", f"`{FAST}`, 0.3 MB of gradients.", rows))


def slow_links(lab: Lab) -> None:
    everybody, large = tuple(lab.hosts), 8 * BATCH
    for host in lab.hosts.values():
        host.set_link(MBIT)
    bench = Bench(lab, task=HEAVY, global_batch=BATCH)
    plan = planned(bench)
    cases = [
        Case(hosts=everybody[:1]),
        Case(hosts=everybody[:2], steps=20),
        Case(hosts=everybody, steps=12),
        Case(hosts=everybody, compress="fp16", steps=16),
        Case(hosts=everybody[:1], batch=large, steps=12),
        Case(hosts=everybody, batch=large, compress="fp16", steps=12),
    ]
    rows, errors, said = measure(bench, plan, cases)
    for batch in (BATCH, large):
        chosen, found = (fastest(rows, cases, batch, by=by) for by in ("predicted", "measured"))
        rows.append((f"fastest at batch {batch:,}: as planned, as measured", f"{chosen}; {found}"))
    rows.append(("error, median and largest", f"{median(map(abs, errors)):.1%}, {max(map(abs, errors)):.1%}"))
    rows += said
    rows.append(("its advice", " · ".join(plan["advice"])))
    print(record("Plan, slow links", f"`{HEAVY}`, 23 MB of gradients, links of {MBIT:.0f} Mbit/s.", rows))


def planned(bench: Bench) -> dict[str, Any]:
    findings = bench.ask("profile")["findings"]
    assert not findings, findings
    return bench.ask("plan")


def main() -> None:
    for part in (fast_links, slow_links):
        if part.__name__ in sys.argv[1:] or not sys.argv[1:]:
            with Lab() as lab:
                part(lab)


if __name__ == "__main__":
    main()
