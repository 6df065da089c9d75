"""Runs on the GPUs of this machine: `make bench-gpu`. It needs one that torch can use, and says so where there is none.

Three things take turns, so that they meet the same disturbances: a Motley run with a rank for each GPU, its gradients
by the GPUs' own library; the same by gloo; and plain DDP under torchrun with equal shares. What counts is the ratios
within a turn. How busy the GPUs are is what NVML says while a run trains.

No figures of a real GPU are kept yet: it ran on one when demo hosts still computed at half a GPU's speed, else with
stand-ins alone (tests/trainer/devices). `--turns N`: fewer, where time is short.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from motley.trainer.devices import names
from tests.bench.results import record

ROOT = Path(__file__).resolve().parents[3]
TASK, BATCH_A_GPU, STEPS, TURNS = "resnet18/synthetic_image", 128, 120, 3
WITHIN_S = 900
WANTED = "bench_gpu needs a GPU that torch can use, and there is none on this machine: nothing was measured"
CLUSTER = """
[cluster]
name = "gpus"
connect = "demo"

[[hosts]]
name = "box"
devices = {devices}

[run]
task = "{task}"
global_batch = {batch}
steps = {steps}
backend = "{backend}"
num_samples = 4096
norm = "batch"
eval_every = 0
checkpoint_every = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: samples/s, and percent of the time that the GPUs were busy; None where nothing says so."""

    samples_per_s: float
    busy: float | None = None


def rows_of(found: dict[str, list[Measured]], gpus: Sequence[str]) -> list[tuple[str, str]]:
    """The lines of the table: `found` has as many runs of each kind, in the order of their turns."""
    rows = [("GPUs", f"{len(gpus)}: {', '.join(dict.fromkeys(gpus))}")]
    for name, runs in found.items():
        rows.append((f"{name}, samples/s, median", f"{median(run.samples_per_s for run in runs):,.0f}"))
        busy = [run.busy for run in runs if run.busy is not None]
        if busy:
            rows.append((f"{name}, GPUs busy, median", f"{median(busy):.0f} %"))
    first, *others = found
    for other in others:
        ratios = [one.samples_per_s / two.samples_per_s for one, two in zip(found[first], found[other])]
        said = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} turns)"
        rows.append((f"{first} / {other}", said))
    return rows


def motley_run(folder: Path, name: str, devices: Sequence[str], backend: str) -> Measured:
    folder.mkdir()
    text = CLUSTER.format(
        devices=json.dumps(list(devices)), task=TASK, batch=BATCH_A_GPU * len(devices), steps=STEPS, backend=backend
    )
    (folder / "cluster.toml").write_text(text)
    said = _run([sys.executable, "-m", "motley.console", "run", "--plain", "--name", name], folder)
    logs = folder / "experiments" / name / "logs"
    samples = [json.loads(line) for path in logs.glob("rank_*_metrics.jsonl") for line in path.open()]
    busy = [s["gpu_util"] for s in samples if s["gpu_util"] is not None and s["step"] > STEPS // 2]
    return Measured(samples_per_s=json.loads(said)["samples_per_s"], busy=sum(busy) / len(busy) if busy else None)


def plain_ddp(folder: Path, devices: Sequence[str], backend: str) -> Measured:
    folder.mkdir()
    out, batch = folder / "out.json", BATCH_A_GPU * len(devices)
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={len(devices)}"]
    given = ["--task", TASK, "--backend", backend, "--batch", str(batch), "--steps", str(STEPS), "--out", str(out)]
    _run([sys.executable, *words, str(Path(__file__).with_name("plain_ddp.py")), *given], folder)
    return Measured(samples_per_s=json.loads(out.read_text())["samples_per_s"])


def _run(argv: list[str], folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder.parent)}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    import torch

    from motley.trainer.devices import accelerator

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    turns = parser.parse_args().turns
    count, kind = accelerator.count(), accelerator.kind()
    if not count:
        print(WANTED, file=sys.stderr)
        return 0  # nothing has failed
    devices = [f"{kind}:{n}" for n in range(count)]
    own = names.COLLECTIVES[kind]
    home = Path(tempfile.mkdtemp(prefix="bench-gpu-"))
    kinds: dict[str, Callable[[Path], Measured]] = {
        f"Motley by {own}": lambda folder: motley_run(folder, "own", devices, own),
        f"plain DDP by {own}": lambda folder: plain_ddp(folder, devices, own),
    }
    if kind in names.BY_GLOO:
        kinds["Motley by gloo"] = lambda folder: motley_run(folder, "gloo", devices, "gloo")
    found: dict[str, list[Measured]] = {name: [] for name in kinds}
    for turn in range(turns):
        for number, (name, measure) in enumerate(kinds.items()):
            found[name].append(measure(home / f"{turn}-{number}"))
    cards = [accelerator.name_of(torch.device(device)) for device in devices]
    text = f"`{TASK}`, {BATCH_A_GPU} samples of a step for each GPU of one machine. Ratios of runs that took turns."
    print(record("GPUs", text, rows_of(found, cards)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
