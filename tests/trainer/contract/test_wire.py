"""Records cross machines unharmed, and nothing that comes from one can do more than be refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.contract.wire import Beat, Chunk, Event, Folder, Sample, WireError, decode, encode

SAMPLE = Sample(
    seq=0, step=1, epoch=0, time=1.5, host="box1", member=0, rank=0, generation=0, batch=64, loss=2.25,
    compute_ms=10.0, wait_ms=1.0, data_ms=0.5, step_ms=12.0, samples_per_s=6400.0,
)  # fmt: skip
RECORDS = [
    SAMPLE,
    Event(time=1.0, host="box1", source="rank 0", kind="note", text="héllo\x1b[31m", data={"a": [1, 2]}),
    Chunk(file="rank_0.jsonl", start=0, end=4, text="a\nb\n"),
    Beat(time=2.0, state={"state": "running"}),
    Folder(id="0f5a9c2be1d34467"),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_one_line_and_comes_back_the_same(record: Any) -> None:
    line = encode(record)
    assert line.count(b"\n") == 1
    assert not any(byte < 32 for byte in line[:-1])
    assert decode(line) == record


def test_a_metrics_line_has_every_key_that_other_tools_rely_on() -> None:
    wanted = {"seq", "step", "time", "rank", "generation", "batch", "loss", "compute_ms", "wait_ms", "step_ms"}
    assert {*wanted, "samples_per_s"} <= set(json.loads(encode(SAMPLE)))


def test_not_a_number_becomes_null() -> None:
    table = json.loads(encode(SAMPLE).replace(b"2.25", b"NaN"))
    table["loss"] = math.nan
    assert json.loads(json.dumps(table).replace("NaN", "null"))["loss"] is None
    lost = Sample(**{**{k: v for k, v in table.items() if k not in ("v", "type")}, "loss": math.nan})
    assert json.loads(encode(lost))["loss"] is None


def test_keys_of_a_newer_host_are_ignored_and_another_version_is_refused() -> None:
    table = json.loads(encode(SAMPLE))
    assert decode(json.dumps({**table, "later": 1})) == SAMPLE
    with pytest.raises(WireError, match="version 9"):
        decode(json.dumps({**table, "v": 9}))


def test_a_line_of_a_host_that_counts_nothing_besides_samples_is_read_and_what_it_counts_is_held_to_its_type() -> None:
    table = json.loads(encode(Sample(**{**dataclasses.asdict(SAMPLE), "unit": "tokens", "units": 5120})))
    assert (table["unit"], table["units"]) == ("tokens", 5120)
    assert decode(json.dumps({key: value for key, value in table.items() if key not in ("unit", "units")})) == SAMPLE
    for wrong in ({"unit": 7}, {"units": "many"}, {"units": 0.5}, {"units": True}):
        with pytest.raises(WireError, match=r"Sample\.unit"):
            decode(json.dumps({**table, **wrong}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": "one"}, "Sample.step is str"),
        ({"step": True}, "Sample.step is bool"),
        ({"type": "secret"}, "unknown type 'secret'"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WireError, match=said):
        decode(json.dumps({**json.loads(encode(SAMPLE)), **change}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.one_of(st.binary(), st.text(), JSON.map(json.dumps)))
def test_any_bytes_are_a_record_or_a_wire_error(line: bytes | str) -> None:
    with contextlib.suppress(WireError):
        decode(line)


@given(st.sampled_from(["sample", "event", "chunk", "beat"]), st.dictionaries(st.sampled_from(list(
    {*json.loads(encode(SAMPLE)), "text", "data", "file", "start", "end", "state"}
)), JSON))  # fmt: skip
def test_any_values_are_a_record_or_a_wire_error(kind: str, values: dict[str, Any]) -> None:
    with contextlib.suppress(WireError):
        decode(json.dumps({**values, "v": 1, "type": kind}))


@pytest.mark.parametrize("depth", [100, 480, 700, 900, 960, 985, 100_000])
@pytest.mark.parametrize("key", ["type", "v", "step"])
def test_what_is_nested_as_deep_as_json_can_be_read_is_refused(key: str, depth: int) -> None:
    """Quoting it in the error goes deeper than reading it did."""
    line = json.dumps({**json.loads(encode(SAMPLE)), key: "HERE"})
    with pytest.raises(WireError):
        decode(line.replace('"HERE"', "[" * depth + "]" * depth))


@pytest.mark.parametrize(
    "change",
    [{"step": 2**63}, {"seq": -(10**400)}, {"step_ms": 10**400}, {"time": -1.0}, {"time": 1e12}, {"wait_ms": 1e300}],
)
def test_numbers_that_no_reader_could_do_with_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(json.dumps({**json.loads(encode(SAMPLE)), **change}))


@pytest.mark.parametrize("loss", ["NaN", "Infinity", "1e999", "1e300"])
def test_a_loss_that_has_grown_without_end_is_none(loss: str) -> None:
    record = decode(encode(SAMPLE).replace(b"2.25", loss.encode()))
    assert isinstance(record, Sample)
    assert record.loss is None


def test_not_a_number_within_the_data_of_an_event_becomes_null_too() -> None:
    event = Event(
        time=1.0, host="box1", source="rank 0", kind="report", text="", data={"a": [math.nan, 1], "b": math.inf}
    )
    assert json.loads(encode(event), parse_constant=pytest.fail)["data"] == {"a": [None, 1], "b": None}


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [(0, 4, "a\n"), (4, 3, "a\n"), (0, 0, ""), (-2, 0, "a\n"), (0, 10**400, "a\n"), (0, 1, "\ufffd\n")],
)
def test_a_chunk_that_is_not_as_long_as_it_says_is_refused(start: int, end: int, text: str) -> None:
    with pytest.raises(WireError):
        decode(encode(Chunk(file="rank_0.out", start=start, end=end, text=text)))


@pytest.mark.parametrize(
    "content", [b"a\n", "é精\n".encode(), b"\xff\xfe\n", b"\xf0\x9f\x98\n", "\ufffd".encode(), b"\xe7\xb2"]
)
def test_a_chunk_of_any_bytes_is_as_long_as_it_says(content: bytes) -> None:
    text = content.decode(errors="replace")
    chunk = Chunk(file="rank_0.out", start=5, end=5 + len(content), text=text)
    assert decode(encode(chunk)) == chunk
