"""Experiment folders that somebody has crafted, or a disk has eaten into, by a seed each; and what must hold of them.

    python tests/console/report/crafted.py [CASES [FIRST]]     # make fuzz-after-run: 10,000 of them

Whatever a folder holds, `motley report`, `compare` and `replay` show of it what is sound, the steps that `verify` could
compute are found, and nothing is executed, read or written elsewhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

from rich.console import Console

from motley.console.replay import timeline
from motley.console.replay.player import Player
from motley.console.replay.timeline import Timeline
from motley.console.report import comparison_view, digest, text_view
from motley.console.report.comparison import compare
from motley.console.report.html_page.report_page import report_page
from motley.console.report.past_run import PastRun
from motley.console.report.read_report import read
from motley.console.report.recorded_step import StepRecords, whole_checkpoint
from motley.console.state.store import Store
from motley.console.view.key_bindings import footer_line
from motley.console.view.notice import notice_lines
from motley.console.view.rank_table import table
from motley.console.view.run_lines import decision_lines, log_line, run_lines
from motley.console.view.styled_line import text
from motley.remote.errors import UsageError
from motley.remote.feed import FeedRecord, ToldAnew
from motley.remote.ssh.new_host_keys import nobody
from motley.trainer.contract.wire import Event
from tests.console.report.experiments import BEGAN, event, group, step, summary, write

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.0, -0.5, 1e38, -1e38, 1e-320, 2**36 - 1, 2**62, 2**70, 10**400, "", "x" * 5000,
    "\x1b[2J\x07", "\x1b]52;c;eA==\x07", "<b>&\"'", "<script>x</script>", "../../../etc/passwd", "/etc/passwd", "٣",
    "\u202eabc", "a\x00b", "\ud800", [], {}, [[]], [None], {"": []}, [1e38] * 3, [{"member": 0}],
    {"a": {"b": [{}] * 9}},
)  # fmt: skip


def events() -> list[Event]:
    return [
        group(),
        event("report", "mlp/digits: 640 samples", 1.0, step=0, steps_total=9, steps_per_epoch=3, shares=[32, 32]),
        event("fingerprint", "", 1.1, step=1, tensors=2, norms=[1.0, 2.0], projections=[0.5] * 16, seed=0),
        event("decision", "moved", 1.2, step=4, before=[32, 32], after=[40, 24], predicted_ms=9.0, current_ms=10.0),
        event("realised", "", 1.4, step=4, before_ms=10.0, predicted_ms=9.0, realised_ms=9.5),
        event("evaluated", "", 1.5, step=3, epoch=1, accuracy=0.5, loss=0.7, figures={"perplexity": 2.0}, seconds=0.1),
        event("evaluated", "", 1.7, step=6, epoch=2, accuracy=0.6, loss=0.6, figures={"perplexity": 1.8}, seconds=0.1),
        event("answers", "", 1.7, step=6, epoch=2, answers=[{"prompt": "a", "answer": "b"}]),
        event("checkpoint", "", 1.6, step=6, path="checkpoints/epoch_2.pt", sha256="ab", seconds=0.1),
        event("fingerprint", "", 1.65, step=7, tensors=2, norms=[1.0, 2.0], projections=[0.5] * 16, seed=0),
        event("waiting", "waits", 1.66, missing=[{"member": 1, "host": "laptop", "phase": "joining"}], waited_s=1.0),
        event("leader", "leads", 1.7, leader="desktop", term=[1, 0], address="10.0.0.1", port=1, hosts=["desktop"]),
        event("lost", "laptop is lost", 1.7, level="warning", member=1, host="laptop"),
        event("regrouped", "", 1.8, generation=1, pause_s=0.4),
        event("precision", "", 1.8, step=2, precision="bf16"),
        event("advice", "leave laptop out", 1.85, host="laptop", **{"with": 10.0, "without": 12.0}),
        event("rank_failed", "failed", 1.9, level="error", member=1, code=1, traceback="ValueError: x"),
        event("ended", "", 2.0, state="failed", left=0),
    ]


def crafted(chance: random.Random, folder: Path) -> Path:
    lines = [sample for number in range(1, 10) for sample in step(number, unit="tokens", units=7)]
    regroups = [{"cause": "lost", "host": "laptop", "step_before": 6, "step_after": 5, "pause_s": 0.4}]
    write(folder, events(), lines, told=summary(regroups=regroups, gain=1.2, saved_s=3.0, state="failed"))
    (folder / "logs" / "rank_0.log").write_bytes(
        b"loss 1\n\x1b[2J\x1b]0;x\x07late\r50%\n" + chance.randbytes(40) + b"\n"
    )
    (folder / "logs" / "rank_0.times").write_text(f"[0, {BEGAN + 1.2}]\n[7, {BEGAN + 1.3}]\n")
    if chance.random() < 0.3:
        digest.keep(PastRun.open(folder), read(folder))
    for path in (folder / "events.jsonl", *sorted(folder.glob("logs/*.jsonl"))):
        rows = path.read_text().splitlines()
        for place in chance.sample(range(len(rows)), chance.choice((0, 3, 3, 6))):
            rows[place] = altered(chance, rows[place])
        path.write_text("\n".join(rows) + "\n" * chance.choice((0, 1)), errors="replace")
    for name in ("summary.json", digest.NAME):
        path = folder / name
        if path.is_file() and chance.random() < 0.8:
            path.write_text(altered(chance, path.read_text()), errors="replace")
    spoil(chance, folder)
    return folder


def spoil(chance: random.Random, folder: Path) -> None:
    """A file of another kind of damage: bytes changed, cut off, gone, a folder, a link elsewhere, an older version."""
    path = chance.choice([p for p in sorted(folder.rglob("*")) if p.is_file()])
    content = bytearray(path.read_bytes())
    match chance.randrange(9):
        case 0 | 1:
            for _ in range(5):
                content[chance.randrange(len(content))] = chance.randrange(256)
            path.write_bytes(content)
        case 2:
            path.write_bytes(content[: chance.randrange(len(content))])
        case 3:
            path.unlink()
        case 4:
            path.unlink()
            path.mkdir()
        case 5:
            path.unlink()
            path.symlink_to(chance.choice(("/etc/passwd", "/dev/zero", "../../outside/secret", str(path), "nowhere")))
        case 6:
            path.write_bytes(content.replace(b'"v":1', chance.choice((b'"v":0', b'"v":2', b'"w":1'))))
        case 7:
            os.rename(folder / "logs", folder / "there")
            (folder / "logs").symlink_to("there")
        case _:
            pass


def altered(chance: random.Random, line: str) -> str:
    """One with another value somewhere in it."""
    outer = json.loads(line)
    inner = outer
    while isinstance(inner, (dict, list)) and inner:
        keys = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        key = chance.choice(keys)
        if not isinstance(inner[key], (dict, list)) or chance.random() < 0.3:
            inner[key] = chance.choice(ODD)
            break
        inner = inner[key]
    return json.dumps(outer)


def check(seed: int, above: Path) -> None:
    """Craft the folder of a seed under `above`, and hold it against what must be true of it."""
    chance = random.Random(seed)
    outside = above / "outside"
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "secret").write_text("hush-hush\n" * 3)
    digest.LEAST = chance.choice((0, 1 << 30))
    plain = read(write(above / "plain", events(), step(1), told=summary()))
    folder = crafted(chance, above / "runs" / "case")
    before = files(above)
    shown = told(folder, plain, chance)
    assert "\x1b" not in shown, "an escape came through"
    assert "hush-hush" not in shown, "something elsewhere was read"
    assert "root:" not in shown, "something elsewhere was read"
    after = files(above)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {f"runs/case/{digest.NAME}"}, f"written: {changed}"


def files(above: Path) -> dict[str, object]:
    """What lies there, links as they are."""
    return {
        str(path.relative_to(above)): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(above.rglob("*"))
    }


def told(folder: Path, plain: Any, chance: random.Random) -> str:
    """All that the verbs show of a folder."""
    out = io.StringIO()
    try:
        report = read(folder)
    except UsageError as error:  # nothing of an experiment is left
        return str(error)
    assert read(folder) == report
    out.write(json.dumps(dataclasses.asdict(report)))
    page = report_page(report)
    assert "<b>" not in page
    assert "<script" not in page
    out.write(page)
    text_view.show(report, Console(file=out, width=chance.choice((40, 80, 200))))
    comparison = compare([plain, report], by=chance.choice(("step", "epoch", "time")))
    out.write(comparison_view.comparison_page(comparison))
    comparison_view.show(comparison, Console(file=out, width=80))
    records = StepRecords.of(PastRun.open(folder).records())
    for asked in records.steps():
        records.at(asked)
        if asked > 1:
            try:
                path = whole_checkpoint(folder, records, asked)
            except UsageError as error:
                out.write(str(error))
            else:
                raise AssertionError(f"{path} is not the checkpoint")
    asyncio.run(replayed(folder, out, chance))
    return out.getvalue().replace("\\u001b", "\x1b")


async def replayed(folder: Path, out: io.StringIO, chance: random.Random) -> None:
    """As the console's panels have it: at its beginning, at a step, at its end, a step on and back."""
    timeline.WHOLE = chance.choice((0, 1 << 20))
    timeline.BEFORE = chance.choice((0, 500))
    now, store = 0.0, Store(readonly=True)

    def hear(record: FeedRecord) -> None:
        nonlocal store
        if isinstance(record, ToldAnew):
            store = Store(readonly=True)
            store.begin(player.now())
        else:
            store.apply(record, player.now())

    player = Player(Timeline(PastRun.open(folder)), at=chance.choice((None, 1, 5, 100)), real=lambda: now)
    await player.opened(hear, nobody)
    try:
        await player.attach()
        does: tuple[Callable[[], object], ...] = (
            player.step, player.step_back, player.pause, lambda: player.seek(0.3), lambda: player.seek(-0.3),
            lambda: player.jump(chance.random()), lambda: player.jump(1.0), lambda: player.change_speed(4.0),
        )  # fmt: skip
        for act in chance.choices(does, k=5):
            act()
            now += chance.choice((0.1, 10.0, 1e6))
            player.tick()
            snapshot = dataclasses.replace(store.snapshot(), playback=player.view())
            width = chance.choice((40, 80, 200))
            lines = [
                *run_lines(snapshot, width=width, now=player.now()), *table(snapshot, width=width, now=player.now()),
                *decision_lines(snapshot, width=width), *notice_lines(snapshot, width=width, folder=str(folder)),
                footer_line(snapshot, width=width), *(log_line(entry, label_width=8) for entry in store.log()),
            ]  # fmt: skip
            out.writelines(text(line) + "\n" for line in lines)
    finally:
        await player.close()


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    cases, first = (*words, *(10_000, 0)[len(words) :])
    began = time.monotonic()
    for seed in range(first, first + cases):
        with tempfile.TemporaryDirectory() as temporary:
            try:
                check(seed, Path(temporary))
            except BaseException:
                print(f"seed {seed}: python {sys.argv[0]} 1 {seed}", flush=True)
                raise
        if (seed - first + 1) % 500 == 0:
            print(f"{seed - first + 1:,} of {cases:,} cases, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{cases:,} cases are shown as far as they are sound")


if __name__ == "__main__":
    main()
