"""LoRA on three real hosts of 0.8, 0.4 and 0.2 cores: `make bench-llm`, as root.

Against transformers' Trainer with peft under torchrun, the same model and rows, and against our own equal shares.
Ratios are of runs that took turns by the second, on the same hosts (`tests/bench/contest.py`). Each host alone is
`bench_lora_alone.py`'s.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench import results
from tests.bench.contest import contest, interval, ratios
from tests.bench.lab_runs import Bench, TorchrunProcess
from tests.bench.llm.small_model import LENGTH, write
from tests.lab.lab import Lab

HOSTS = {"box1": 0.8, "box2": 0.4, "box3": 0.2}
BATCH, ROWS, ENDLESS, ROUNDS = 24, 8_000, 100_000, 8
TURN_S, START_S = 14.0, 300.0  # the slowest of the three takes 2 s for a step, and its libraries a minute to import
PEER = Path(__file__).with_name("trainer_peer.py")
FOLDER = "llm"
TORCHRUN = 2.2  # at least this many times it, and equal shares


class LoraBench(Bench):
    """Runs of causal_lm, in place of those of a task for pictures."""

    def run_keys(self, *, steps: int, batch: int, compress: str) -> dict[str, Any]:
        keys = super().run_keys(steps=steps, batch=batch, compress=compress)
        return {**keys, "accumulate": 1, "learning_rate": 2e-4}

    def config(self, **wanted: Any) -> Path:
        path = super().config(**wanted)
        with path.open("a") as file:
            file.write(
                f'\n[data]\npush = "{FOLDER}"\n\n[task]\nmodel = "model"\ntrain = "train.jsonl"\n'
                f'format = "text"\nlength = {LENGTH}\ntest_fraction = 0.0\n'
            )
        return path

    def start_peer(self) -> TorchrunProcess:
        home = self.lab["box1"].home  # what Motley has pushed is on all three
        pushed = next((home / ".motley/data").rglob("train.jsonl")).parent.relative_to(home)
        return self.start_torchrun([PEER], [f"~/{pushed}", str(BATCH // len(HOSTS)), str(ENDLESS)])


def main() -> int:
    rows: list[tuple[str, str]] = []
    with Lab(HOSTS) as lab:
        bench = LoraBench(lab, task="causal_lm", global_batch=BATCH)
        write(bench.folder / FOLDER, rows=ROWS)
        settled = list(bench.motley(steps=60, policy="dynamic").batches[-1])
        rows.append(("rows a rank, as a balanced run settled", "/".join(map(str, settled))))
        found = contest(
            {
                "balanced": lambda: bench.start(steps=ENDLESS, policy="dynamic"),
                "equal shares": lambda: bench.start(steps=ENDLESS, policy="static"),
                "Trainer under torchrun": bench.start_peer,
            },
            batch=BATCH * LENGTH,
            rounds=ROUNDS,
            turn_s=TURN_S,
            start_s=START_S,
        )
        of_equal, of_peer = (
            ratios(found["balanced"], found[name]) for name in ("equal shares", "Trainer under torchrun")
        )
        rows.append(("balanced / transformers' Trainer with peft under torchrun", interval(of_peer)))
        rows.append(("balanced / our equal shares", interval(of_equal)))
        rows += [(f"{name}, tokens/s, median", f"{median(rates):,.0f}") for name, rates in found.items()]
    text = (
        "Three hosts of 0.8, 0.4 and 0.2 cores; LoRA (r 16 on q_proj and v_proj) of a Llama of 4 layers of 192, rows "
        f"of {LENGTH} tokens, {BATCH} rows a step. ± is a 95 % interval. Ratios of runs that took turns by the second."
    )
    print(results.record("Language models", text, rows))
    return int(mean(of_peer) < TORCHRUN or mean(of_equal) < TORCHRUN)


if __name__ == "__main__":
    sys.exit(main())
