"""The life of an adapter, by the commands that people type: a rank is killed and comes back, the run is stopped, gone
on with on another number of hosts, exported, merged, loaded by transformers, and asked something."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.libraries.tiny_llama import write_llama
from tests.support.ports import free_pair

COMMAND_S, WAIT_S = 600.0, 300.0
MORE = 12  # steps of the run that goes on
LINES = ("the cat sat on the mat", "the big dog ran on the hill", "who is she", "why did he sit", "no it is a red cat")
CONFIG = """
[cluster]
name = "life"
connect = "demo"
port = {port}
[run]
task = "causal_lm"
steps = 100000
global_batch = 6
accumulate = 2
schedule = "constant"
eval_every = 0
checkpoint_every = 0
[elastic]
lost_after_s = 20
[data]
push = "rows"
[task]
model = "tiny"
dtype = "float64"
train = "train.jsonl"
test = "test.jsonl"
generate = ["the cat"]
lora_targets = ["all-linear"]
[[hosts]]
name = "box0"
[[hosts]]
name = "box1"
[[hosts]]
name = "box2"
"""


class Place:
    """A folder with a cluster.toml of three demo hosts, a tiny model and its rows."""

    def __init__(self, folder: Path, home: Path, port: int) -> None:
        self.folder, self.env = folder, {**os.environ, "HOME": str(home)}
        rows = folder / "rows"
        rows.mkdir()
        write_llama(rows / "tiny")
        (rows / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES * 4))
        (rows / "test.jsonl").write_text(json.dumps({"text": LINES[0]}) + "\n")
        (folder / "cluster.toml").write_text(CONFIG.format(port=port))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "motley.console", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def motley(self, *words: str, code: int = 0) -> str:
        process = self.begin(*words)
        said, _ = process.communicate(timeout=COMMAND_S)
        assert process.returncode == code, said
        return said

    def losses(self, run: str) -> dict[int, float]:
        """The mean loss of each step over all ranks, as the lines of metrics have it."""
        return {
            step: math.fsum(b * loss for b, loss in rows) / sum(b for b, _ in rows)
            for step, rows in self._parts(run).items()
            if sum(b for b, _ in rows)
        }

    def rows(self, run: str) -> dict[int, int]:
        """How many rows of each step the lines of metrics tell of."""
        return {step: sum(b for b, _ in rows) for step, rows in self._parts(run).items()}

    def _parts(self, run: str) -> dict[int, list[tuple[int, float]]]:
        """By step: rows and their mean loss, of each rank."""
        parts: dict[int, list[tuple[int, float]]] = {}
        for path in (self.folder / "experiments" / run / "logs").glob("rank_*_metrics.jsonl"):
            for line in path.read_text().splitlines(True):
                if line.endswith("\n"):
                    row = json.loads(line)
                    parts.setdefault(row["step"], []).append((row["batch"], row["loss"] or 0.0))
        return parts

    def evaluated(self, run: str) -> list[tuple[int, float]]:
        """Step and held-out loss of each evaluation."""
        return [(data["step"], data["loss"]) for data in self._events(run, "evaluated")]

    def groups(self, run: str) -> list[int]:
        """How many ranks each group of the run had so far."""
        return [len(group["members"]) for group in self.group_events(run)]

    def group_events(self, run: str) -> list[dict[str, Any]]:
        return self._events(run, "group")

    def _events(self, run: str, kind: str) -> list[dict[str, Any]]:
        path = self.folder / "experiments" / run / "events.jsonl"
        lines = path.read_text().splitlines(True) if path.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event["data"] for event in events if event["kind"] == kind]


def rank_of(run: str, host: str) -> int:
    """The process of the run's rank on a demo host."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"\0rank\0" in words and {f"MOTLEY_RUN={run}".encode(), f"MOTLEY_HOST={host}".encode()} <= set(environ):
            return int(folder.name)
    raise LookupError(f"no rank of {run} on {host}")


def wait_until(true: Callable[[], bool], what: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.1)  # it is other processes' doing: there is nothing to await


@pytest.fixture
def place(tmp_path: Path, home: Path) -> Iterator[Place]:
    made = Place(tmp_path, home, free_pair())
    yield made
    for run in ("first", "on", "alone"):
        made.begin("stop", run).communicate(timeout=COMMAND_S)


def test_from_the_first_step_to_an_answer(place: Place) -> None:
    first = place.begin("run", "--plain", "--name", "first", "--only", "box0", "--only", "box1")
    wait_until(lambda: len(place.losses("first")) > 4, "steps", first)
    os.kill(rank_of("first", "box1"), signal.SIGKILL)
    wait_until(lambda: place.groups("first")[-1:] == [2] and len(place.groups("first")) > 1, "both again", first)
    steps = len(place.losses("first"))
    wait_until(lambda: len(place.losses("first")) > steps + 4, "steps of both", first)
    place.motley("stop", "first")
    said, _ = first.communicate(timeout=COMMAND_S)
    assert first.returncode == 4, said
    stopped = json.loads((place.folder / "experiments/first/summary.json").read_text())["steps"]

    last = ("--set", f"run.steps={stopped + MORE}")
    place.motley("run", "--plain", "--name", "on", "--resume", "first", *last)
    place.motley("run", "--plain", "--name", "alone", "--only", "box0", *last)
    assert place.groups("on") == [3]
    found, expected = {**place.losses("first"), **place.losses("on")}, place.losses("alone")
    assert sorted(found) == sorted(expected) == list(range(1, stopped + MORE + 1))
    rows, all_rows = {**place.rows("first"), **place.rows("on")}, place.rows("alone")
    whole = [step for step in sorted(expected) if rows[step] == all_rows[step]]
    before_kill = place.group_events("first")[1]["step"]  # the killed rank may not have written its line of this one
    assert set(expected) - set(whole) <= {before_kill}, rows
    assert [found[step] for step in whole] == pytest.approx([expected[step] for step in whole], rel=1e-6)
    assert found[stopped + MORE] < found[1]

    (as_it_came,), (of_one_host, last_alone) = place.evaluated("first"), place.evaluated("alone")
    assert as_it_came == pytest.approx(of_one_host, rel=1e-9)  # before the first step, once, whoever was killed after
    ((step, loss),) = place.evaluated("on")  # which does not begin at its first step
    assert (step, loss) == pytest.approx(last_alone, rel=1e-6)
    assert loss < as_it_came[1]

    place.motley("export", "on", "adapter")
    place.motley("export", "on", "merged", "--merge")
    assert told(place, place.folder / "merged") == told(place, place.folder / "adapter")


def told(place: Place, folder: Path) -> list[Any]:
    """What transformers makes of an exported folder: the most likely tokens after a few words."""
    import transformers

    base = place.folder / "rows/tiny" if (folder / "adapter_config.json").exists() else folder
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    if base != folder:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer("the big", return_tensors="pt")
    made = model.generate(input_ids=given["input_ids"], max_new_tokens=6, do_sample=False)
    answer: list[Any] = made[0].tolist()
    assert len(answer) > given["input_ids"].shape[1]
    return answer
