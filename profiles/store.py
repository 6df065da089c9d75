"""What calibration found of one device of one host, kept on the master: one JSON file each under `~/.motley/profiles/`.

The console writes a `Profile` after `motley profile`, and reads it to plan and to start a run with shares that fit:

    >>> store = Store(Path("~/.motley/profiles").expanduser() / "home")
    >>> store.write(profile)
    >>> store.find("box1", "cuda:0", conditions).profile.line
    Line(a=3.1, c=0.42, …)

A profile holds for the conditions it was measured in. One of other conditions is not used, and `Found.why` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.profiles.cost_line import SHAPE, SHAPE_STD, Line, Point, Shape, fit

FORMAT = 1  # of the files; raised when what is measured changes its meaning
TRIM = 0.1  # of the steps at either end do not count: some were disturbed
NOISE_LEAST = 0.005
LARGEST = 1e15  # of any figure
NO_MOST = 1_000_000  # as `max_batch`, in files of before `fits_at_least`: the most was not reached
SOME = ("max_batch", "fits_at_least", "sample_mib", "global_batch", "free_mib")  # figures that there may be none of


class ProfileError(ValueError):
    """A file that is no profile: names it, says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a measurement depends on."""

    task: str
    norm: str
    optimizer: str
    computed: str = "fp32"  # in which precision, and how, where [run] says so
    threads: int | None = None  # as asked for; None: by the host's cores
    speed: float | None = None  # of an emulated host
    torch: str | None = None  # None: not known, and not compared
    machine: str | None = None  # host name; None: not known, and not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Steps at one batch size: trimmed means of their times, and how much one step scatters.

    Not the median: under a CPU quota short steps are either quick or held for the rest of a period, and both count.
    """

    batch: int
    compute_ms: float  # start of the step to the last local gradient
    step_ms: float  # step end to step end, with nobody to wait for
    noise: float  # relative standard deviation of a step
    steps: int

    @classmethod
    def of(cls, batch: int, compute_ms: Sequence[float], step_ms: Sequence[float]) -> Timing:
        """From the times of the single steps. Raises ValueError when there are none."""
        if not compute_ms or len(compute_ms) != len(step_ms):
            raise ValueError("there must be a compute time and a step time of each step, and at least one step")
        middle = statistics.median(step_ms)
        noise = 1.4826 * statistics.median(abs(x - middle) for x in step_ms) / middle
        return cls(
            batch=batch,
            compute_ms=_trimmed_mean(compute_ms),
            step_ms=_trimmed_mean(step_ms),
            noise=max(noise, NOISE_LEAST),
            steps=len(step_ms),
        )


def _trimmed_mean(values: Sequence[float]) -> float:
    cut = int(len(values) * TRIM)
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpeed:
    """Between a host and the leader: the slower direction, and half a round trip."""

    mbit: float
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRate:
    """How fast a CPU was with so many threads, at the share that it would have among equals."""

    threads: int
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device of one host with one task."""

    host: str
    device: str  # "cpu", "cuda:0", "cuda:0+1"
    device_name: str  # "NVIDIA GeForce RTX 3070"
    conditions: Conditions
    timings: tuple[Timing, ...]
    parameters: int
    gradient_bytes: int
    max_batch: int | None  # the most samples of one pass that fit into a GPU's memory; None where that is not known
    sample_mib: float | None  # of a GPU's memory for each sample of a pass; None where that is not known
    link: LinkSpeed | None  # None on the leader, and where it could not be measured
    time: float  # seconds since 1970
    threads: int | None = None  # that it was measured with; None on a GPU
    thread_rates: tuple[ThreadRate, ...] = ()  # of the numbers of threads that were tried; none where one was given
    global_batch: int | None = None  # that a script's own loop says; None for a task, where cluster.toml does
    free_mib: int | None = None  # of its memory before anything was started: of the GPU, or of the host, for one rank
    cards_mib: tuple[int, ...] = ()  # of each card, where a rank has several
    fits_at_least: int | None = None  # samples of one pass, where the most, `max_batch`, was not reached

    @property
    def noise(self) -> float:
        """Relative standard deviation of one step."""
        return statistics.median(t.noise for t in self.timings)

    @property
    def line(self) -> Line:
        """Time to the last local gradient: `t(b) = a + c b` in ms, with its covariance."""
        return self._fit([Point(t.batch, t.compute_ms, t.steps) for t in self.timings])

    @property
    def step_line(self) -> Line:
        """The whole step without communication: samples fetched, gradients computed, weights updated."""
        return self._fit([Point(t.batch, t.step_ms, t.steps) for t in self.timings])

    def _fit(self, points: Sequence[Point]) -> Line:
        return fit(points, Shape(SHAPE, SHAPE_STD, max(1, points[0].batch)), self.noise)

    def as_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Profile:
        """Raises ValueError that names the field which is missing, of another type or out of bounds."""
        if table.get("format") != FORMAT:
            raise ValueError(f"its format is {table.get('format')!r}, this version reads {FORMAT}")
        values = _values(cls, table, "")
        values["conditions"] = Conditions(**_values(Conditions, values["conditions"], "conditions."))
        rows = [Timing(**_values(Timing, row, "timings.")) for row in values["timings"]]
        if not rows or any(t.batch < 1 or t.compute_ms <= 0 or t.step_ms <= 0 or t.steps < 1 for t in rows):
            raise ValueError("timings must be there, and above 0")
        if any(t.noise <= 0 for t in rows):
            raise ValueError("timings.noise must be above 0")
        if values["parameters"] < 1 or values["gradient_bytes"] < 1:
            raise ValueError("parameters and gradient_bytes must be at least 1")
        if wrong := next((key for key in SOME if values.get(key) is not None and values[key] <= 0), ""):
            raise ValueError(f"{wrong} must be above 0, or null")
        if values["max_batch"] == NO_MOST:
            values["max_batch"] = None
        values["timings"] = tuple(rows)
        tried = [ThreadRate(**_values(ThreadRate, row, "thread_rates.")) for row in values.get("thread_rates", ())]
        threads = values.get("threads")
        if any(t.threads < 1 or t.samples_per_s <= 0 for t in tried) or (threads is not None and threads < 1):
            raise ValueError("threads and thread_rates must be above 0")
        values["thread_rates"] = tuple(tried)
        values["cards_mib"] = tuple(values.get("cards_mib", ()))
        if any(not isinstance(mib, int) or isinstance(mib, bool) or mib <= 0 for mib in values["cards_mib"]):
            raise ValueError("cards_mib must be whole numbers above 0")
        if values["link"] is not None:
            values["link"] = LinkSpeed(**_values(LinkSpeed, values["link"], "link."))
            if values["link"].mbit <= 0 or values["link"].latency_ms < 0:
                raise ValueError("link.mbit must be above 0, link.latency_ms at least 0")
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A profile to use, or why there is none."""

    profile: Profile | None
    why: str = ""


class Store:
    """The profiles of one cluster: a folder with a file for each host, device and task."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, host: str, device: str, task: str) -> Path:
        names = (host, device, task)
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", "--".join(names))[:120]
        return self.folder / f"{plain}-{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:8]}.json"

    def write(self, profile: Profile) -> Path:
        """Put it in the place of an older one, whole or not at all. Raises OSError.

        Raises ValueError for figures that `read` would refuse, and writes nothing then.
        """
        path = self.path(profile.host, profile.device, profile.conditions.task)
        text = json.dumps(profile.as_dict(), indent=1)
        Profile.from_dict(json.loads(text))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        return path

    def read(self, host: str, device: str, task: str) -> Profile | None:
        """None when there is none. Raises ProfileError for a file that can't be used."""
        path = self.path(host, device, task)
        try:
            return _read(path)
        except FileNotFoundError:
            return None

    def of_task(self, task: str) -> tuple[Profile, ...]:
        """Every profile of a task, by host and device; files that can't be read are left out."""
        found = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(ProfileError, FileNotFoundError):  # `find` says why
                found.append(_read(path))
        return tuple(sorted((p for p in found if p.conditions.task == task), key=lambda p: (p.host, p.device)))

    def find(self, host: str, device: str, now: Conditions) -> Found:
        """The profile that holds under the conditions of now, or why none does."""
        try:
            profile = self.read(host, device, now.task)
        except ProfileError as error:
            return Found(profile=None, why=str(error))
        if profile is None:
            return Found(profile=None, why=f"{host} {device} was never calibrated with {now.task}")
        changed = differences(profile.conditions, now)
        if changed:
            return Found(profile=None, why=f"the profile of {host} {device} does not hold any more: {changed}")
        return Found(profile=profile)


def differences(then: Conditions, now: Conditions) -> str:
    """What is another now, in words; empty when nothing is."""
    pairs = [(f.name, getattr(then, f.name), getattr(now, f.name)) for f in dataclasses.fields(Conditions)]
    unknowable = {"torch", "machine"}  # without asking the host
    return ", ".join(
        f"{name} was {_shown(old)}, now it is {_shown(new)}"
        for name, old, new in pairs
        if old != new and not (name in unknowable and None in (old, new))
    )


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _read(path: Path) -> Profile:
    try:
        table = json.loads(path.read_bytes())
        if not isinstance(table, dict):
            raise ValueError("it is no table")
        return Profile.from_dict(table)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ProfileError(f"{path} can't be read: {error.strerror}; motley profile makes it anew") from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path} can't be used ({error}); motley profile makes it anew") from error


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
    "str | None": (str, type(None)),
    "Conditions": (dict,),
    "tuple[Timing, ...]": (list,),
    "tuple[int, ...]": (list,),
    "tuple[ThreadRate, ...]": (list,),
    "LinkSpeed | None": (dict, type(None)),
}


def _values(kind: type[Any], table: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ValueError(f"{prefix.rstrip('.')} is no table")
    values = {}
    for field in dataclasses.fields(kind):
        if field.name not in table:
            if field.default is not dataclasses.MISSING:  # a file of before there was such a figure
                continue
            raise ValueError(f"{prefix}{field.name} is missing")
        value = table[field.name]
        if not isinstance(value, _TYPES[str(field.type)]) or isinstance(value, bool):
            raise ValueError(f"{prefix}{field.name} is {type(value).__name__}, not {field.type}")
        if isinstance(value, (int, float)) and not -LARGEST < value < LARGEST:  # not-a-number too
            raise ValueError(f"{prefix}{field.name} is {value!r:.20}")
        values[field.name] = value
    return values
