"""Lines of ranks read by blocks: the same as when each is looked at closely, or left to that."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

from motley.console.report import past_run
from motley.console.report.read_report import read
from motley.console.report.step_lines import StepLine, step_lines
from motley.remote.experiment.records import record_of
from motley.trainer.contract.wire import Sample, encode
from tests.console.report.experiments import event, group, step, summary, write
from tests.console.report.test_quick_sample import ODD


def of(sample: Sample) -> StepLine:
    return StepLine(*(getattr(sample, name) for name in StepLine._fields))


def test_what_ranks_write_is_read_by_blocks() -> None:
    samples = [one for n in range(1, 9) for one in step(n, unit="tokens", units=3, gain=1.5 if n % 2 else None)]
    assert list(step_lines(b"".join(map(encode, samples))) or ()) == list(map(of, samples))


@pytest.mark.parametrize("seed", range(4))
def test_it_never_says_anything_else_than_a_close_look(seed: int) -> None:
    chance = random.Random(seed)
    (sample, _) = step(3, gain=1.5, saved_s=2.0)
    table = json.loads(encode(sample))
    read_by_block = 0
    for _ in range(800):
        odd = dict(table)
        for key in chance.sample(sorted(odd), chance.choice((1, 1, 2))):
            odd[key] = chance.choice((*ODD, chance.choice(list(table.values()))))
        text = json.dumps(odd, separators=(",", ":"))
        if chance.random() < 0.1:
            text = text.replace(
                chance.choice("0123456789"), chance.choice(("00", "1.", "e5", "-", "\N{ARABIC-INDIC DIGIT TWO}"))
            )
        line = text.encode()
        found = step_lines(encode(sample) + line + b"\n")
        if found is not None:
            read_by_block += 1
            record = record_of("", "rank_0_metrics.jsonl", line)
            assert isinstance(record, Sample)
            assert list(found) == [of(sample), of(record)]
    assert read_by_block > 10


@pytest.mark.parametrize(
    "wrong", [b"torn", b"", b"x" + encode(step(1)[0])[:-1], b"\xff", encode(step(1)[0])[:-1] + b" "]
)
def test_one_odd_line_leaves_the_block_to_a_close_look(wrong: bytes) -> None:
    whole = encode(step(2)[0])
    assert step_lines(whole + wrong + b"\n" + whole) is None


@pytest.mark.parametrize("block", [700, 4096, 1 << 18])
def test_a_report_is_the_same_whatever_the_size_of_a_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [one for n in range(1, 40) for one in step(n, unit="tokens", units=7)]
    folder = write(tmp_path / "night", [group(), event("ended", at=9.0)], samples, told=summary())
    file = folder / "logs" / "rank_1_metrics.jsonl"
    file.write_bytes(file.read_bytes() + b"torn\n" + b"9" * (past_run.LONGEST + 5) + b'\n{"v":1')
    with monkeypatch.context() as patched:
        patched.setattr(past_run, "step_lines", lambda _: None)
        close = read(folder)
    monkeypatch.setattr(past_run, "BLOCK", block)
    assert dataclasses.asdict(read(folder)) == dataclasses.asdict(close)
    assert any("2 lines" in note for note in close.notes)
    assert any("ends within a line" in note for note in close.notes)
