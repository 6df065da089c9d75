"""Stops and kills of real ranks on the lab's hosts: the last part of `make soak`, as root. Writes tests/lab/SOAK.md.

Runs are started on the lab's master, disturbed at random moments, and ended in one of the ways that users have. After
each no process may be left on any host, and every line of metrics that a rank wrote must be beside cluster.toml once.

    python tests/lab/soak.py --acts 100 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lab.faults import KINDS, Fault, begin, heal
from tests.lab.lab import Lab
from tests.lab.night import Night
from tests.support.pages import machine, page, soak_rows

HOSTS = {"box1": 0.5, "box2": 0.5, "box3": 0.5, "box4": 0.5}
RUN = {"task": "simple_cnn/digits", "global_batch": 64, "epochs": 100_000, "checkpoint_every": 0}
ACTS = ("rank killed", "supervisor killed", "coordinator killed", "console killed", "sshd restarted")
MOST_ACTS, PAUSE_S = 3, 2.0  # before a run's end, and between two of them, at most
STOP_S = 60.0
RESULTS = Path(__file__).with_name("SOAK.md")


def motley_stop(night: Night) -> None:
    """From a terminal of its own."""
    done = night.motley("stop", night.name)
    assert done.returncode in (0, 4), done.stderr


def stopped_twice(night: Night) -> None:
    """From two terminals at once."""
    pair = [night.start("stop", night.name) for _ in range(2)]
    codes = [process.wait(timeout=STOP_S) for process in pair]
    assert set(codes) <= {0, 4}, codes


ENDS: dict[str, Callable[[Night], None]] = {
    "motley stop": motley_stop,
    "motley stop, twice at once": stopped_twice,
    "Ctrl-C in the console": Night.interrupt,
}


def written(night: Night) -> dict[int, list[int]]:
    """The numbers of the lines that each rank wrote on its host, in order."""
    return {n: sorted(s["seq"] for s in night.samples(host, n)) for n, host in enumerate(night.lab.hosts)}


def kept(night: Night) -> dict[int, list[int]]:
    """Those beside cluster.toml."""
    paths = {n: night.folder / "logs" / f"rank_{n}_metrics.jsonl" for n in range(len(night.lab.hosts))}
    return {n: [json.loads(line)["seq"] for line in path.read_text().splitlines()] for n, path in paths.items()}


def one_night(lab: Lab, folder: Path, name: str, generator: random.Random) -> list[str]:
    """What was done to it, in order. Raises AssertionError when something is left, or lost."""
    done: list[str] = []
    with Night(lab, folder, name, run=RUN) as night:
        night.until(lambda: night.step() >= 1, "the first step")
        for _ in range(generator.randint(0, MOST_ACTS)):
            time.sleep(generator.uniform(0.0, PAUSE_S))
            kind = generator.choice(ACTS)
            host = night.leader() if kind == "coordinator killed" else generator.choice(list(HOSTS))
            fault = Fault(kind=kind, host="" if KINDS[kind].of_console else host, seconds=0.0)
            begin(night, fault)
            heal(night, fault)
            done.append(kind)
        time.sleep(generator.uniform(0.0, PAUSE_S))
        end = generator.choice(list(ENDS))
        done.append(end)
        ENDS[end](night)
        code = night.wait(STOP_S)
        story = f"{name}: {', '.join(done)}"
        assert code == 4, f"{story}: the console ended with {code}\n{night.said()}"
        assert night.left() == {}, f"{story}: processes are left: {night.left()}\n{night.said()}"
        here, there = kept(night), written(night)
        assert here == there, f"{story}: lines of metrics were lost or doubled\n{night.said()}"
        assert all(n == list(range(len(n))) for n in here.values()), f"{story}: gaps"
    return done


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--acts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    generator = random.Random(given.seed)
    counted: Counter[str] = Counter()
    began, nights = time.monotonic(), 0
    with Lab(HOSTS) as lab, tempfile.TemporaryDirectory(prefix="soak-") as place:
        while counted.total() < given.acts:
            done = one_night(lab, Path(place), f"night-{nights}", generator)
            counted.update(done)
            nights += 1
            print(f"{counted.total():4d}  night-{nights}: {', '.join(done)}", flush=True)
            lab.heal()
    given.out.write_text(results(counted, nights, given.seed, time.monotonic() - began))
    print(given.out.read_text())


def results(counted: Counter[str], nights: int, seed: int, seconds: float) -> str:
    """SOAK.md."""
    intro = [
        "Made by `make soak`: runs on four real hosts are disturbed and ended at random moments. After each, no",
        "process was left on any host and each line of metrics was beside cluster.toml once.",
    ]
    about = machine(f"seed {seed}", f"{seconds / 60:.0f} minutes")
    return page("Soak in the lab", intro, about, soak_rows(counted, nights))


if __name__ == "__main__":
    main()
