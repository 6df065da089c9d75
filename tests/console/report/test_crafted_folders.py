"""Folders that somebody has crafted, or a disk has eaten into: each is shown as far as it is sound."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from motley.console.report import comparison_view, text_view
from motley.console.report.comparison import compare
from motley.console.report.past_run import PastRun
from motley.console.report.read_report import read
from motley.console.report.recorded_step import StepRecords, whole_checkpoint
from motley.console.report.report_page import report_page
from motley.remote.errors import UsageError
from motley.trainer.contract.wire import Event
from tests.console.report.experiments import event, group, step, summary, write

CASES = 10  # of each seed
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.0, -0.5, 1e38, -1e38, 1e-320, 2**62, 2**70, 10**400, "", "x" * 5000, "\x1b[2J\x07", "<b>&\"'",
    "../../../etc/passwd", "٣", "‮abc", [], {}, [[]], [None], {"": []}, [1e38] * 3, [{"member": 0}],
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
        event("checkpoint", "", 1.6, step=6, path="checkpoints/epoch_2.pt", sha256="ab", seconds=0.1),
        event("lost", "laptop is lost", 1.7, level="warning", member=1, host="laptop"),
        event("regrouped", "", 1.8, generation=1, pause_s=0.4),
        event("precision", "", 1.8, step=2, precision="bf16"),
        event("rank_failed", "failed", 1.9, level="error", member=1, code=1, traceback="ValueError: x"),
        event("ended", "", 2.0, state="failed", left=0),
    ]


def crafted(chance: random.Random, folder: Path) -> Path:
    lines = [sample for number in range(1, 10) for sample in step(number, unit="tokens", units=7)]
    regroups = [{"cause": "lost", "host": "laptop", "step_before": 6, "step_after": 5, "pause_s": 0.4}]
    write(folder, events(), lines, told=summary(regroups=regroups, gain=1.2, saved_s=3.0, state="failed"))
    for path in (folder / "events.jsonl", *sorted(folder.glob("logs/*.jsonl"))):
        rows = path.read_text().splitlines()
        for place in chance.sample(range(len(rows)), 3):
            rows[place] = altered(chance, rows[place])
        path.write_text("\n".join(rows) + "\n" * chance.choice((0, 1)), errors="replace")
    path = folder / "summary.json"
    path.write_text(altered(chance, path.read_text()), errors="replace")
    if chance.random() < 0.5:
        path = chance.choice([p for p in sorted(folder.rglob("*")) if p.is_file()])
        content = bytearray(path.read_bytes())
        for _ in range(5):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.5 else content)
    return folder


def altered(chance: random.Random, line: str) -> str:
    """One with another value somewhere in it."""
    table = json.loads(line)
    inner = table
    while isinstance(inner, dict) and inner:
        key = chance.choice(sorted(inner))
        if not isinstance(inner[key], dict) or chance.random() < 0.3:
            inner[key] = chance.choice(ODD)
            break
        inner = inner[key]
    return json.dumps(table)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_folder_holds_it_is_shown_as_far_as_it_is_sound(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    plain = read(write(tmp_path / "plain", events(), step(1), told=summary()))
    for number in range(CASES):
        folder = crafted(chance, tmp_path / f"case-{number}")
        report = read(folder)
        json.dumps(dataclasses.asdict(report))
        page = report_page(report)
        assert "\x1b" not in page
        assert "<b>" not in page
        out = io.StringIO()
        text_view.show(report, Console(file=out, width=chance.choice((40, 80, 200))))
        for by in ("step", "epoch", "time"):
            comparison = compare([plain, report], by=by)
            comparison_view.comparison_page(comparison)
        comparison_view.show(comparison, Console(file=out, width=80))
        assert "\x1b" not in out.getvalue()
        records = StepRecords.of(PastRun.open(folder).records())
        for asked in records.steps():
            records.at(asked)
            if asked > 1:
                with pytest.raises(UsageError):
                    whole_checkpoint(folder, records, asked)
