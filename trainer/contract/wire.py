"""The records that cross machines: versioned JSON lines, standard library only.

A host writes them to its own append-only files, `attach` carries them over SSH, the console reads them.
Each record is one line of JSON with its version `v` and its `type`:

    >>> decode(encode(Event(time=1.0, host="box1", source="supervisor", kind="started", text="2 ranks started")))
    Event(time=1.0, host='box1', source='supervisor', kind='started', text='2 ranks started', level='info', data={})

A reader ignores keys it does not know, so a newer host may say more. A line that is not a record raises
`WireError`, which the boundary turns into an event: a bad line never stops a console.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import field
from typing import Any, Literal, Union

from motley.trainer.contract.validate import short
from motley.trainer.light_dataclass import light_dataclass

VERSION = 1

Level = Literal["info", "warning", "error"]
Phase = Literal["spawned", "connecting", "importing torch", "loading data", "joining", "training", "ended"]
RunState = Literal["starting", "running", "finished", "stopped", "failed", "lost"]
END_STATES: tuple[RunState, ...] = ("finished", "stopped", "failed", "lost")


class WireError(ValueError):
    """A line that is not a record of this version: the message says what is wrong with it."""


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One optimizer step as one rank saw it: a line of `rank_N.jsonl`."""

    seq: int  # counts the lines of this member, over all its processes, from 0
    step: int  # optimizer steps completed, counted from 1
    epoch: int  # from 0
    time: float  # seconds since 1970 on the host's clock, at the end of the step
    host: str
    member: int  # fixed for the run; names the files
    rank: int  # in this generation
    generation: int
    batch: int  # samples this rank had of the step
    loss: float | None  # mean over those samples, None when it had none; over tokens, its part of the global mean
    compute_ms: float  # start of the step to the last local gradient
    wait_ms: float  # last local gradient to the end of the all-reduce
    data_ms: float  # fetching the samples, part of no other figure
    step_ms: float  # step end to step end, evaluation and checkpoints left out
    samples_per_s: float  # batch over compute time: what this rank could do alone
    mem_mib: float | None = None  # peak of the device, or resident memory on a CPU
    gpu_util: float | None = None  # 0 to 100
    step_batch: int | None = None  # samples that all ranks together had of the step
    gain: float | None = None  # said by rank 0: with equal shares a step would take so many times as long, by the fits
    saved_s: float | None = None  # said by rank 0: against equal shares, since the run began
    share: int | None = None  # of the step, where a task says what samples cost: in samples of mean cost. Else `batch`
    unit: str = ""  # what the task counts besides samples: "tokens"
    units: int | None = None  # how many of it this rank had of the step
    cards: list[Any] = field(default_factory=list)  # where the rank has several: {mib, util} of each


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a script that tells us nothing has said of its training, read from its output: a line of `rank_N.jsonl`."""

    time: float  # seconds since 1970 on the host's clock, when it was printed
    host: str
    member: int
    step: int  # as the script counts
    steps_total: int | None = None
    epoch: float | None = None  # as the script says
    loss: float | None = None  # the newest one; None before the first, and when it was no number
    steps_per_s: float | None = None  # by the times at which the steps were printed
    unit: str = "step"  # what is counted in `step`; "epoch" where a script tells of these alone


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a script takes of its host, every `rank.script_rank.USAGE_S` seconds: a line of `rank_N.jsonl`."""

    time: float  # seconds since 1970 on the host's clock
    host: str
    member: int
    cpu: float  # percent of the cores that the host's ranks may use, 0 to 100
    mem_mib: float  # resident memory of its processes
    gpu_util: float | None = None  # 0 to 100


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened once: a line of `events.jsonl`.

    `kind` is what programs match on, `text` what a person reads, `data` the figures behind it. Kinds and their data:

    | kind | data |
    |---|---|
    | started | ranks, pid |
    | phase | member, phase: one of `Phase` |
    | waiting | missing: [{member, host, phase}], waited_s |
    | gave_up | missing, waited_s |
    | group | generation, world_size, step, members: [{member, host, rank, device}] |
    | lost | member, host, cause: lost, stuck or dropped; step |
    | admitted | host, members: [{member, host, device}]: it may join from now on |
    | dropped | host: it is taken out |
    | regrouped | generation, pause_s |
    | cut_off | member, step, term, generation, address: it waits for a leader; `term` is the |
    | | list of `trainer.contract.term` |
    | leader | leader, term, address, port, hosts: who leads from now on (`Lead`) |
    | holding | hosts, least, hold_s |
    | job_warning | the job that has the nodes ends soon: a checkpoint is written |
    | requeued | step, restarts: it goes on there, in a job that was started anew |
    | restarted | restart, most, pause_s, why: [{member, host, cause: lost or killed}]: a script starts anew |
    | session | member: its script was the first to call motley.session(): the run is one of sessions from now on |
    | rank_killed | member, code, oom_kills: it is started again |
    | decision | step (from which it holds), before: [samples], after: [samples], predicted_ms, current_ms, noise_ms, |
    | | why |
    | policy | policy: what `[balance] policy` names; the shares stay, for it has failed or given none that will do |
    | advice | host (to leave out; None: none any more), with, without: samples/s; or global_batch (that would use the |
    | | GPUs), busy: percent, full: 0 to 1 |
    | realised | step (of the decision), before_ms (a step until then), predicted_ms, realised_ms |
    | report | step, steps_total, steps_per_epoch, shares: what is about to be trained, by rank 0 of the first group |
    | early_stop | step, epoch, best_epoch, best: the run is finished; best is the highest score, 0 to 1 |
    | precision | step, asked, precision: what forward passes are computed in from here on; why |
    | evaluated | step, epoch (0: before the first step), accuracy, loss, metrics, figures (what follows from the |
    | | loss), seconds |
    | answers | step, epoch, seconds, answers: [{prompt, answer}], what the model said after the evaluation |
    | checkpoint | step, path (relative to the run's folder), bytes, sha256, seconds; within an epoch why (steps, |
    | | minutes, asked) and asked: the requests that it answers |
    | threads | member, threads: the number that is kept, samples_per_s: a table of what was tried |
    | fingerprint | step (the one after a checkpoint), tensors, norms, projections, seed: see |
    | | `trainer.health.gradient_fingerprint` |
    | diverged | step, why (not a number, infinite, blown up, weights), loss, member, cause, remedy, resume (the last |
    | | good checkpoint), command (goes on from it), stops |
    | memory | step, member, before, after: the micro-batch in samples; with lengths, times the longest of them |
    | trace | step, steps, path (relative to the run's folder on the event's host), bytes, sha256 |
    | fault | member; of a task error and remedy, of a script code: said by the rank that fails, before it ends |
    | rank_failed | member, code, root_cause (False: it only lost others), traceback (the end of its output), python, |
    | | oom_kills: processes that the kernel has ended on this host for lack of memory, since the run began |
    | placing | of hosts that are nodes of a job: how its wait and its end went, by the console |
    | first_shares | what the shares of the first step come from, by the console that started the run |
    | warm_restart | by the console that had a run take the place of another one in the same processes |
    | cold_restart | by the console that had to stop another run first; its text says why |
    | note | anything else worth a line in the log; of data that a rank fetches fraction and member, of a broken group |
    | | error, of a rank that hangs at: its innermost calls, of a checkpoint that can't be written step, why, asked, |
    | | of a script's ranks that run on after another has ended members |
    | stopping | reason |
    | ended | state, left: processes still alive |
    """

    time: float
    host: str
    source: str  # "supervisor", "coordinator", "rank 3", "console"
    kind: str
    text: str
    level: Level = "info"
    data: dict[str, Any] = field(default_factory=dict)


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Whole lines of one file of the run's folder: attach -> console. `end` is the byte offset after them."""

    file: str  # relative to the run's folder on the host: "rank_0.jsonl", "rank_0.1.out", "events.jsonl"
    start: int
    end: int
    text: str
    time: float | None = None  # of the newest write to the file, when it was read: seconds since 1970
    times: list[Any] = field(default_factory=list)  # of output: pairs of a line's number here and when it was printed


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Sign of life of `attach`, about once a second, with the supervisor's `state.json` as it is on disk."""

    time: float
    state: dict[str, Any]  # HostState as a table; empty when there is none
    tails: dict[str, Any] = field(default_factory=dict)  # by file of output: a last line without end, if new


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Which folder of the run `attach` reads, before any Chunk of it: to who knows that the host may have several."""

    id: str  # `trainer.verbs.attach.folder_id`


Record = Union[Sample, Reading, Usage, Event, Chunk, Beat, Folder]
_TYPES: dict[str, type[Any]] = {c.__name__.lower(): c for c in (Sample, Reading, Usage, Event, Chunk, Beat, Folder)}
_NAMES: dict[type[Any], str] = {c: n for n, c in _TYPES.items()}
_FIELDS: dict[type[Any], tuple[dataclasses.Field[Any], ...]] = {c: dataclasses.fields(c) for c in _NAMES}
_CHECKS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
    "str": (str,),
    "Level": (str,),
    "dict[str, Any]": (dict,),
    "list[Any]": (list,),
}
_RULES: dict[type[Any], tuple[tuple[str, str, tuple[type, ...], bool], ...]] = {  # name, hint, types, without default
    kind: tuple(
        (f.name, str(f.type), _CHECKS[str(f.type)], f.default is f.default_factory is dataclasses.MISSING)
        for f in fields
    )
    for kind, fields in _FIELDS.items()
}
_JSON = json.JSONDecoder(parse_constant=lambda _: None)  # not-a-number, as other writers of JSON in Python put it

MOST = 2**63  # of whole numbers, which are below it
LATEST = 2.0**36  # seconds since 1970: a time beyond can't be shown as one
LARGEST = 1e39  # of figures: what a float32 holds


def encode(record: Record) -> bytes:
    """One line, newline included, in UTF-8 without control characters. Not-a-number becomes null."""
    table = {"v": VERSION, "type": _NAMES[type(record)]}
    for f in _FIELDS[type(record)]:
        value = getattr(record, f.name)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        table[f.name] = value
    try:
        text = json.dumps(table, separators=(",", ":"), default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(table), separators=(",", ":"), default=str)
    return text.encode() + b"\n"


def _finite(value: Any) -> Any:
    """The same with null for each not-a-number in it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(line: str | bytes) -> Record:
    """The record in one line, its numbers in bounds that every reader can do with; what is deeper in its tables is not
    looked at. Raises `WireError` that says what is wrong."""
    try:
        table = _JSON.decode(line if isinstance(line, str) else str(line, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(table, dict):
        raise WireError(f"not a table but {type(table).__name__}")
    if table.get("v") != VERSION:
        raise WireError(f"version {short(table.get('v'))}, this side speaks {VERSION}")
    said = table.get("type")
    kind = _TYPES.get(said) if isinstance(said, str) else None
    if kind is None:
        raise WireError(f"unknown type {short(said)}")
    values: dict[str, Any] = {}
    for name, hint, types, needed in _RULES[kind]:
        if name in table:
            value = table[name]
            if not isinstance(value, types) or isinstance(value, bool):
                raise WireError(f"{kind.__name__}.{name} is {type(value).__name__}, expected {hint}")
            values[name] = _bounded(kind, name, hint, value) if isinstance(value, (int, float)) else value
        elif needed:
            raise WireError(f"{kind.__name__} without {name}")
    if kind is Chunk and not _is_sound(**values):
        raise WireError("Chunk whose text is not as long as it says")
    record: Record = kind(**values)
    return record


def _bounded(kind: type[Any], name: str, hint: str, value: float) -> float | None:
    """The number, when it is one that every reader can do with. A loss that has grown without end is not known."""
    if (
        -MOST < value < MOST
        if hint.startswith("int")
        else 0 <= value < LATEST
        if name == "time"
        else abs(value) < LARGEST
    ):
        return value
    if hint.endswith("| None"):
        return None
    raise WireError(f"{kind.__name__}.{name} is out of bounds")


def _is_sound(*, start: int, end: int, text: str, **_: object) -> bool:
    """Whether the text can be what lies between the offsets, where bytes that are no UTF-8, up to three of them at a
    time, have become one character of three bytes."""
    most = len(text.encode(errors="replace"))
    return 0 <= start < end and most - 2 * text.count("\ufffd") <= end - start <= most
