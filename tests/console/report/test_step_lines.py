"""Lines of ranks read by blocks: the same as when each is looked at closely, or left to that."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from motley.console.report import past_run
from motley.console.report.read_report import read
from motley.console.report.step_lines import StepLine, step_lines
from motley.remote.experiment.records import record_of
from motley.trainer.contract.wire import Sample, encode
from tests.console.report.experiments import event, group, step, summary, write

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.0, 1e38, 1e39, 1e300, -1e300, 2**53 + 1, 2**62, 2**63, 2**70, "", "x", "\x1b[2J", "a‮b", [],
    {}, [1], [{"mib": 1, "util": None}], float("nan"), float("inf"),
)  # fmt: skip
# What may stand in place of a digit, or of a sign between two values.
TORN = ("00", "1.", ".5", "-", "+1", "1_0", "e5", "e-5", "e999", '"', "\\", "\n", "\t", "\x01", " ", ",", "\ud800", "٢")
WHOLE = encode(step(2)[0])


def told(record: Any) -> dict[str, Any]:
    table = {field.name: getattr(record, field.name) for field in dataclasses.fields(Sample)}
    cards = [{"mib": card.mib, "util": card.util} if isinstance(record, StepLine) else card for card in table["cards"]]
    return {**table, "cards": cards}


def test_what_ranks_write_is_read_by_blocks() -> None:
    samples = [one for n in range(1, 9) for one in step(n, unit="tokens", units=3, gain=1.5 if n % 2 else None)]
    samples += step(9, cards=[{"mib": 7.5, "util": None}, {"mib": 8.0, "util": 99.0}])
    assert list(map(told, step_lines(b"".join(map(encode, samples))) or ())) == list(map(told, samples))


@pytest.mark.parametrize("seed", range(4))
def test_it_never_says_anything_else_than_a_close_look(seed: int) -> None:
    chance = random.Random(seed)
    (sample, _) = step(3, gain=1.5, saved_s=2.0)
    table = json.loads(encode(sample))
    read_by_block = 0
    for _ in range(800):
        odd = dict(table)
        for key in chance.sample(sorted(odd), chance.choice((0, 1, 1, 2))):
            odd[key] = chance.choice((*ODD, chance.choice(list(table.values()))))
        if chance.random() < 0.1:
            odd.pop(chance.choice(sorted(odd)))
        if chance.random() < 0.1:
            odd = dict(sorted(odd.items()))
        text = json.dumps(odd, separators=(",", ":"), ensure_ascii=chance.random() < 0.5)
        if chance.random() < 0.4:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(TORN) + text[at + chance.randrange(2) :]
        line = text.encode(errors="surrogatepass")
        found = step_lines(WHOLE + line + b"\n")
        if found is not None:
            read_by_block += 1
            record = record_of("", "rank_0_metrics.jsonl", line)
            assert isinstance(record, Sample)
            assert list(map(told, found)) == [told(step(2)[0]), told(record)]
    assert read_by_block > 10


@pytest.mark.parametrize("digits", [1, 8, 17, 30])
def test_a_figure_is_the_float_that_python_reads(digits: int) -> None:
    chance = random.Random(digits)
    texts = [
        f"{chance.randrange(100)}.{chance.randrange(10**digits):0{digits}}e-{chance.choice((0, 7, 300, 320, 330))}"
        for _ in range(2000)
    ]
    lines = step_lines(b"".join(WHOLE.replace(b'"wait_ms":25.0', b'"wait_ms":' + text.encode()) for text in texts))
    assert [line.wait_ms for line in lines or ()] == list(map(float, texts))


@pytest.mark.parametrize(
    "wrong",
    [
        b"torn", b"", b"x" + WHOLE[:-1], b"\xff", WHOLE[:-1] + b"\x00", WHOLE[:-1] + b" " + WHOLE[:-1],
        WHOLE.replace(b',"step"', b',\n"step"')[:-1], WHOLE.replace(b',"step"', b',\n"step"')[:-1] + WHOLE[:-1],
        WHOLE.replace(b"[]", b'[\n{"mib":1.0}]')[:-1] + b" " + WHOLE[:-1], WHOLE.replace(b'"v":1,', b"")[:-1],
        WHOLE.replace(b'"type":"sample",', b"")[:-1], WHOLE.replace(b'"desktop"', b'"desk\\u200btop"')[:-1],
        WHOLE.replace(b"[]", b"[" * 100_000)[:-1], WHOLE.replace(b'"loss":1.0', b'"loss":NaN')[:-1],
    ],
)  # fmt: skip
def test_one_odd_line_leaves_the_block_to_a_close_look(wrong: bytes) -> None:
    assert step_lines(WHOLE + wrong + b"\n" + WHOLE) is None


@pytest.mark.parametrize("block", [700, 4096, 1 << 18])
def test_a_report_is_the_same_whatever_the_size_of_a_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [one for n in range(1, 40) for one in step(n, unit="tokens", units=7)]
    folder = write(tmp_path / "night", [group(), event("ended", at=9.0)], samples, told=summary())
    file = folder / "logs" / "rank_1_metrics.jsonl"
    file.write_bytes(file.read_bytes() + b"torn\n" + b"9" * (past_run.LONGEST + 5) + b'\n{"v":1')
    with monkeypatch.context() as patched:
        patched.setattr("motley.console.report.step_lines.step_lines", lambda _: None)
        close = read(folder)
    monkeypatch.setattr(past_run, "BLOCK", block)
    assert dataclasses.asdict(read(folder)) == dataclasses.asdict(close)
    assert any("2 lines" in note for note in close.notes)
    assert any("ends within a line" in note for note in close.notes)
