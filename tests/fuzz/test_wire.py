"""Whatever a host writes: a record or a `WireError`; and whoever takes a record in takes every one that was decoded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from motley.console.commands.plain import Printer
from motley.console.view.notice import in_order
from motley.console.view.plot import plot
from motley.console.view.rank_table import table as rank_table
from motley.console.view.run_lines import decision_lines, log_line, run_lines
from motley.remote.diagnosis.failures import Failures
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.last_loss import LastLosses
from motley.remote.feed import FeedRecord, Layout, RankLayout
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.failover import Failover
from motley.trainer.contract.wire import Beat, Chunk, Event, Folder, Record, Sample, WireError, decode, encode
from tests.fuzz.mutation import ODD, TEXTS, cases, mutated, nested, scratch, table, written

HOSTS = ("box1", "box2")
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
NOW = 1_700_000_000.0
SMALL = st.integers(0, 5)
HOST = st.sampled_from(HOSTS)
FIGURE = st.floats(0, 1e4)
MEMBER = table({"member": SMALL, "host": HOST, "device": st.just("cpu"), "phase": st.just("joining")})
DATA: dict[str, st.SearchStrategy[Any]] = {
    "member": SMALL, "host": HOST, "leader": HOST, "phase": st.sampled_from(["joining", "training", "ended"]),
    "missing": st.lists(MEMBER, max_size=2), "members": st.lists(MEMBER, max_size=2), "waited_s": FIGURE,
    "generation": SMALL, "step": st.integers(0, 50), "term": SMALL, "address": st.just("10.0.0.1"),
    "port": st.just(29500), "hosts": st.lists(HOST, max_size=2), "cause": st.sampled_from(["lost", "dropped"]),
    "before": st.lists(SMALL, max_size=2), "after": st.lists(SMALL, max_size=2), "predicted_ms": FIGURE,
    "current_ms": FIGURE, "realised_ms": FIGURE, "why": TEXTS, "restart": SMALL, "steps_total": st.integers(0, 500),
    "accuracy": st.floats(0, 1), "error": TEXTS, "remedy": TEXTS, "code": st.integers(-20, 20), "python": TEXTS,
    "oom_kills": SMALL, "traceback": TEXTS, "root_cause": st.booleans(), "path": TEXTS, "sha256": TEXTS,
}  # fmt: skip
KINDS = {  # what the console reads of each
    "phase": "member phase", "waiting": "missing waited_s", "gave_up": "missing", "group": "generation step members",
    "lost": "member host cause step", "admitted": "host members", "dropped": "host", "holding": "hosts",
    "cut_off": "member term generation address", "leader": "leader term address port hosts", "restarted": "restart",
    "decision": "step before after predicted_ms current_ms why", "advice": "host", "realised": "step realised_ms",
    "report": "steps_total", "evaluated": "accuracy", "checkpoint": "path sha256", "stopping": "", "note": "",
    "fault": "member error remedy code", "rank_failed": "member code traceback root_cause python oom_kills",
}  # fmt: skip
EVENTS = [
    table(
        {
            "v": st.just(1), "type": st.just("event"), "time": st.just(NOW), "host": HOST, "source": st.just("rank 0"),
            "kind": st.just(kind), "text": TEXTS, "level": st.sampled_from(["info", "error"]),
            "data": table({key: DATA[key] for key in keys.split()}),
        }
    )
    for kind, keys in KINDS.items()
]  # fmt: skip
EVENT = st.one_of(EVENTS)
SAMPLE = table(
    {
        "v": st.just(1), "type": st.just("sample"), "seq": st.just(0), "step": st.integers(0, 9), "epoch": st.just(0),
        "time": st.just(NOW), "host": HOST, "member": st.integers(0, 1), "rank": st.just(0), "generation": SMALL,
        "batch": st.just(32), "loss": st.none() | FIGURE, "compute_ms": st.just(1.0), "wait_ms": st.just(1.0),
        "data_ms": st.just(1.0), "step_ms": FIGURE, "samples_per_s": st.just(1.0), "mem_mib": st.just(1.0),
    }
)  # fmt: skip
GOOD: list[Record] = [
    Event(time=NOW, host="box1", source="rank 0", kind="note", text="hello", data={"member": 0, "a": [1, {"b": None}]}),
    Sample(
        seq=0, step=1, epoch=0, time=NOW, host="box1", member=0, rank=0, generation=0, batch=64, loss=2.25,
        compute_ms=10.0, wait_ms=1.0, data_ms=0.5, step_ms=12.0, samples_per_s=6400.0,
    ),
    Chunk(file="rank_0.jsonl", start=0, end=4, text="a\nb\n"),
    Beat(time=NOW, state={"state": "running", "ranks": [{"member": 0, "pid": 7}]}),
    Folder(id="0f5a9c2be1d34467"),
]  # fmt: skip
PIECES = [
    *('"', "\\", "{", "}", "[", "]", ",", ":", "\n", "-", "e", "1e999", "NaN", "-Infinity", "null", "true", "\\ud800"),
    *('"v":1,', '"v":2,', '"type":"sample",', '"type":"event",', '"data":', '"time":', "9" * 400, "9" * 5000, "0."),
]


@st.composite
def holding(draw: st.DrawFn) -> str:
    """A good line, with something nested without end in the place of a value, or of its type."""
    made = json.loads(encode(draw(st.sampled_from(GOOD))))
    made[draw(st.sampled_from(sorted(made)))] = "HERE"
    return json.dumps(made).replace('"HERE"', draw(nested()))


LINES: st.SearchStrategy[str | bytes] = st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=80).map(lambda noise: encode(GOOD[0])[:40] + noise),
    mutated(st.sampled_from(GOOD).map(lambda record: encode(record).decode()), PIECES),
    ODD.map(written),
    nested(),
    holding(),
    EVENT.map(written),
    SAMPLE.map(written),
    st.sampled_from(GOOD).map(lambda record: encode(record).decode("utf-8").encode("utf-16")),
    st.integers(0, 20_000).map(lambda length: encode(GOOD[0]).replace(b"hello", b"x" * length)),
)


@given(LINES)
def test_any_line_is_a_record_or_a_wire_error(line: str | bytes) -> None:
    said, record = "", None
    try:
        record = decode(line)
    except WireError as error:
        said = str(error)
    assert len(said) < 400
    for field in dataclasses.fields(record) if record is not None else ():
        value = getattr(record, field.name)
        assert value is None or isinstance(value, (str, dict, list)) or abs(value) < 1e39


@given(LINES)
def test_what_was_decoded_and_made_safe_can_be_written_and_read_again(line: str | bytes) -> None:
    with scratch() as folder:
        experiment = Experiment.open(Path(folder))
        text = line if isinstance(line, str) else line.decode(errors="replace")
        kept = experiment.take("box1", Chunk(file="events.jsonl", start=0, end=9, text=text))
        kept += experiment.take("box1", Chunk(file="rank_0.jsonl", start=0, end=9, text=text))
        experiment.close()
        again = Experiment.open(Path(folder))
        assert sorted(map(repr, again.replay())) == sorted(map(repr, kept))
        again.close()


class Console:
    """All that a console makes of a run's records, without a screen or a host."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.printer = Printer(write=self.said.append, clock=lambda: NOW)
        self.reform = Failover(cast(Verbs, None), "night", leader="box1", order=HOSTS, port=29500)
        self.losses = LastLosses()
        self.failures = Failures()
        self(
            Layout(
                run="night", task="mlp/digits", policy="dynamic", global_batch=64, steps_total=50, leader="box1",
                ranks=tuple(RankLayout(member=n, host=host, device="cpu") for n, host in enumerate(HOSTS)),
            )
        )  # fmt: skip

    def __call__(self, record: FeedRecord) -> None:
        self.printer(record)
        if isinstance(record, Sample):
            self.losses.hear(record)
        else:
            self.failures.hear(record)
        if isinstance(record, Event):
            self.reform.hear(record)

    def look(self) -> Iterator[str]:
        """Everything that is shown, as text."""
        store = self.printer.store
        shown = store.snapshot()
        lines = [
            *run_lines(shown, width=100, now=NOW),
            *rank_table(shown, width=160, now=NOW),
            *decision_lines(shown, width=60),
            *(log_line(entry, label_width=12) for entry in store.log()),
            *plot(shown.throughput, width=60, height=8, marks=[(d.step, "▲", "warn") for d in shown.decisions]),
            *plot(shown.losses, width=60, height=8),
        ]
        yield from ("".join(part for part, _ in line) for line in lines)
        yield from (problem.cause for problem in in_order(shown.problems))
        yield from self.said
        if (report := self.failures.report()) is not None:
            yield report.cause("at step 7")


@cases(50)
@given(st.lists(EVENT | SAMPLE, max_size=8))
def test_a_console_takes_and_shows_whatever_was_decoded(tables: list[dict[str, Any]]) -> None:
    console, later = Console(), Console()
    with scratch() as folder:
        experiment = Experiment.open(Path(folder))
        read = {"events.jsonl": 0, "rank_0.jsonl": 0}
        for made in tables:
            file = "rank_0.jsonl" if made.get("type") == "sample" else "events.jsonl"
            chunk = Chunk(file=file, start=read[file], end=read[file] + 1, text=written(made) + "\n")
            read[file] += 1
            for record in experiment.take("box1", chunk):
                console(record)
        experiment.close()
        for record in Experiment(Path(folder)).replay():
            later(record)
    for one in (console, later):
        assert not {unicodedata.category(c) for line in one.look() for c in line} & UNSAFE
        one.reform.propose(gone="box9", reached=HOSTS)
        one.losses.of(one.printer.store.snapshot().step, 2)


@cases(50)
@given(st.lists(EVENT | SAMPLE, max_size=4))
def test_a_console_takes_records_that_nobody_has_made_safe(tables: list[dict[str, Any]]) -> None:
    """As they come out of `decode`: whoever takes them does not depend on who made their text safe."""
    console = Console()
    for made in tables:
        with contextlib.suppress(WireError):
            record = decode(written(made))
            assert isinstance(record, (Event, Sample))
            console(record)
    assert list(console.look())
