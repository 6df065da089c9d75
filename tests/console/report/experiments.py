"""Experiment folders as a console leaves them, written by hand: what a report is read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from motley.trainer.contract.wire import Event, Reading, Sample, Usage, encode

BEGAN = 1_700_000_000.0
HOSTS = ("desktop", "laptop")
TOML = """
[cluster]
name = "desk"
[[hosts]]
name = "desktop"
address = "10.0.0.1"
[[hosts]]
name = "laptop"
address = "10.0.0.2"
env = {TOKEN = "hush"}
[run]
task = "mlp/digits"
global_batch = 64
epochs = 3

# Changed on the command line:
# --set run.epochs=5
"""


def event(kind: str, text: str = "", at: float = 0.0, host: str = "desktop", level: Any = "info", **data: Any) -> Event:
    return Event(time=BEGAN + at, host=host, source="rank 0", kind=kind, text=text, level=level, data=data)


def group(generation: int = 0, members: Sequence[int] = (0, 1), at: float = 1.0, step: int = 0) -> Event:
    rows = [{"member": m, "host": HOSTS[m], "rank": i, "device": "cpu"} for i, m in enumerate(members)]
    return event("group", "formed", at, generation=generation, world_size=len(rows), members=rows, step=step)


def step(
    number: int,
    batches: Sequence[int] = (32, 32),
    *,
    ms: float = 100.0,
    at: float | None = None,
    generation: int = 0,
    loss: float | None = 1.0,
    members: Sequence[int] = (0, 1),
    **more: Any,
) -> list[Sample]:
    """What each member tells of a step, which ended `at` seconds after the beginning."""
    ended = BEGAN + (1.0 + number * ms / 1000 if at is None else at)
    return [
        Sample(
            seq=number,
            step=number,
            epoch=0,
            time=ended,
            host=HOSTS[member],
            member=member,
            rank=rank,
            generation=generation,
            batch=batch,
            loss=loss,
            compute_ms=ms / (2 + rank),
            wait_ms=ms / 4,
            data_ms=0.0,
            step_ms=ms,
            samples_per_s=100.0,
            step_batch=sum(batches),
            mem_mib=100.0 + member,
            **more,
        )
        for rank, (member, batch) in enumerate(zip(members, batches))
    ]


def summary(**changed: Any) -> dict[str, Any]:
    hosts = [{"name": host, "ranks": 1, "share": 0.5, "samples_per_s": 1.0, "state": "finished"} for host in HOSTS]
    table = {"run": "night", "state": "finished", "steps": 10, "epochs": 1, "seconds": 4.0, "hosts": hosts}
    return {**table, "regroups": [], "phases": {}, "final_loss": 0.5, **changed}


def write(
    folder: Path,
    events: Iterable[Event] = (),
    lines: Iterable[Sample | Reading | Usage] = (),
    *,
    told: dict[str, Any] | None = None,
    toml: str | None = TOML,
) -> Path:
    """`told`: what summary.json says; None: there is none."""
    (folder / "logs").mkdir(parents=True)
    if toml is not None:
        (folder / "cluster.toml").write_text(toml)
    if told is not None:
        (folder / "summary.json").write_text(json.dumps(told))
    (folder / "events.jsonl").write_bytes(b"".join(map(encode, events)))
    by_member: dict[int, bytes] = {}
    for line in lines:
        by_member[line.member] = by_member.get(line.member, b"") + encode(line)
    for member, content in by_member.items():
        (folder / "logs" / f"rank_{member}_metrics.jsonl").write_bytes(content)
    return folder
