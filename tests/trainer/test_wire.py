"""Records cross machines unharmed, and nothing that comes from one can do more than be refused."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.wire import Beat, Chunk, Event, Sample, WireError, decode, encode

SAMPLE = Sample(
    seq=0, step=1, epoch=0, time=1.5, host="box1", member=0, rank=0, generation=0, batch=64, loss=2.25,
    compute_ms=10.0, wait_ms=1.0, data_ms=0.5, step_ms=12.0, samples_per_s=6400.0,
)  # fmt: skip
RECORDS = [
    SAMPLE,
    Event(time=1.0, host="box1", source="rank 0", kind="note", text="héllo\x1b[31m", data={"a": [1, 2]}),
    Chunk(file="rank_0.jsonl", start=0, end=3, text="a\nb\n"),
    Beat(time=2.0, state={"state": "running"}),
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
