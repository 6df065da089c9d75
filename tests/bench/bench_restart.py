"""`r` in the console: `python tests/bench/bench_restart.py`, as root. Four real hosts of 0.8, 0.4, 0.2 and 0.2 cores.

From the key that confirms to the new run's first step, when the processes that have torch imported stay (warm), and
when something has changed, so that all are started anew (cold).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.results import record
from tests.lab.lab import Lab
from tests.lab.terminal import Terminal
from tests.lab.test_restart import restarted
from tests.lab.test_run import START_S, metrics, wait_until

TURNS = 5


def main() -> None:
    warm, cold = [], []
    with Lab() as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiments = folder / "experiments"
        run = {"task": "simple_cnn/digits", "epochs": 100000, "checkpoint_every": 0}
        config = lab.cluster_toml(folder, run=run)
        written = config.read_text()
        words = lab.motley("run", "-c", str(config), "--name", "night")
        with Terminal(lab, words, cwd=folder, width=120, height=40) as terminal:
            terminal.wait_for("● running", START_S)
            wait_until(lambda: len(metrics(experiments / "night", 0)) > 10, "metrics of the first run")
            for turn in range(TURNS):
                warm.append(restarted(terminal, experiments, "warm restart of")[1])
                config.write_text(f'{written}[defaults.env]\nTURN = "{turn}"\n')
                cold.append(restarted(terminal, experiments, "cold restart: box1 has changed")[1])
            terminal.press("x")
            terminal.wait_for("Stop the run?")
            terminal.press("y")
            terminal.wait_for("■ stopped")
            terminal.press("q")
    rows = [
        (
            f"{name} restart, seconds to the first step, median",
            f"{median(found):.1f} ({min(found):.1f} to {max(found):.1f})",
        )
        for name, found in (("warm", warm), ("cold", cold))
    ]
    rows.append(("cold / warm, median of the turns", f"{median(c / w for c, w in zip(cold, warm)):.1f}"))
    text = f"Four hosts of 0.8, 0.4, 0.2 and 0.2 cores, `simple_cnn/digits`; {TURNS} turns."
    print(record("Restart", text, rows))


if __name__ == "__main__":
    main()
