"""A large experiment, written by a program: four ranks, whose steps fill so many megabytes.

    python tests/bench/after_run/large_experiment.py FOLDER [MB]

Each line is as a rank writes it (the first of each rank is compared with what `wire.encode` makes of it). The group is
changed twice, the shares a hundred times; there is an evaluation each hundredth of the run, and output of the ranks.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from motley.trainer.contract.wire import Event, Sample, encode

HOSTS = ("desktop", "laptop", "box1", "box2")
SHARES = (128, 64, 32, 32)
BEGAN = 1_750_000_000.0
STEP_S = 0.1
PARTS = 100
LINE = (
    '{{"v":1,"type":"sample","seq":{seq},"step":{step},"epoch":{epoch},"time":{time!r},"host":"{host}",'
    '"member":{member},"rank":{member},"generation":0,"batch":{batch},"loss":{loss!r},"compute_ms":{compute!r},'
    '"wait_ms":{wait!r},"data_ms":0.41237,"step_ms":{ms!r},"samples_per_s":{rate!r},"mem_mib":{mem!r},'
    '"gpu_util":null,"step_batch":256,"gain":{gain},"saved_s":{saved},"share":null,"unit":"","units":null,"cards":[]}}\n'
)
TOML = """
[cluster]
name = "large"
[[hosts]]
name = "desktop"
address = "10.0.0.1"
[run]
task = "mlp/digits"
global_batch = 256
epochs = 100
"""


def line_of(member: int, step: int) -> str:
    wobble = 1 + 0.04 * math.sin(step * 0.7 + member)
    compute = (60.0 + 5 * member) * wobble
    gain, saved = ("1.8734", repr(step * 0.01)) if member == 0 and step % 10 == 0 else ("null", "null")
    return LINE.format(
        seq=step - 1, step=step, epoch=step // 1000, time=BEGAN + 5 + step * STEP_S + member * 0.001,
        host=HOSTS[member], member=member, batch=SHARES[member], loss=2.3 * math.exp(-step / 40_000) * wobble,
        compute=compute, wait=95.0 - compute, ms=96.7 * wobble, rate=SHARES[member] / compute * 1000,
        mem=300.0 + member, gain=gain, saved=saved,
    )  # fmt: skip


def events(steps: int) -> list[Event]:
    def told(kind: str, text: str, at: float, level: Any = "info", **data: Any) -> Event:
        return Event(time=BEGAN + at, host="desktop", source="rank 0", kind=kind, text=text, level=level, data=data)

    rows = [{"member": m, "host": host, "rank": m, "device": "cpu"} for m, host in enumerate(HOSTS)]
    text = "mlp/digits: 1,797 samples"
    found = [
        told("group", "generation 0: 4 ranks", 1.0, generation=0, world_size=4, members=rows, step=0),
        told("report", text, 2.0, step=0, steps_total=steps, steps_per_epoch=1000, shares=[64] * 4),
    ]
    for part in range(1, PARTS):
        step = part * steps // PARTS
        at = 5 + step * STEP_S
        before, after = list(SHARES), [SHARES[0] - part % 5, SHARES[1] + part % 5, *SHARES[2:]]
        times = {"predicted_ms": 95.0, "current_ms": 97.0, "why": "box1 needs 2.4 ms a sample"}
        scores = {"accuracy": 1 - 0.5 / part, "loss": 0.7 / part, "seconds": 0.5}
        found += [
            told("decision", f"new split from step {step}", at, step=step, before=before, after=after, **times),
            told("evaluated", f"epoch {part}", at, step=step, epoch=part, **scores),
            told("checkpoint", "", at, step=step, path=f"checkpoints/step_{step}.pt", sha256="ab", seconds=0.2),
        ]
    found += [told("ended", "finished", 6 + steps * STEP_S, state="finished", left=0)]
    return found


def write(folder: Path, megabytes: float) -> int:
    """Returns the number of steps."""
    record = Sample(**{k: v for k, v in json.loads(line_of(0, 10)).items() if k not in ("v", "type")})
    assert encode(record).decode() == line_of(0, 10)
    steps = int(megabytes * 1e6 / sum(len(line_of(m, 100_000)) for m in range(4)))
    (folder / "logs").mkdir(parents=True)
    (folder / "cluster.toml").write_text(TOML)
    (folder / "events.jsonl").write_bytes(b"".join(map(encode, events(steps))))
    hosts = [{"name": host, "ranks": 1, "share": 0.25, "samples_per_s": 1.0, "state": "finished"} for host in HOSTS]
    told = {"run": folder.name, "state": "finished", "steps": steps, "seconds": 7 + steps * STEP_S, "hosts": hosts}
    (folder / "summary.json").write_text(json.dumps({**told, "epochs": 100, "final_loss": 0.1, "regroups": []}))
    for member in range(4):
        with (folder / "logs" / f"rank_{member}_metrics.jsonl").open("w") as file:
            file.writelines(line_of(member, step) for step in range(1, steps + 1))
        with (folder / "logs" / f"rank_{member}.log").open("w") as file:
            file.writelines(f"epoch {part}: loss is {1 / part:.4f}\n" for part in range(1, 10_000))
    return steps


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 300.0), "steps")
