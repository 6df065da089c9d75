"""A session that plays a plausible run: four hosts of unequal speed, start-up, two changes of the split, evaluations.

Tests drive the app and the plain printer with it; to look at the screen by hand, from the top of the repository:

    python tests/console/scripted.py [--fast] [--plain] [--fail] [--readonly]
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from motley.console.control.session_protocol import Emit, Opened, Plan, SessionLike
from motley.remote.errors import CheckFailed, Finding, NewKey
from motley.remote.feed import Ended, FeedRecord, Layout, Link, LogLine, Progress, RankLayout, Stage
from motley.remote.session.checkpoint_now import Written
from motley.remote.ssh.new_host_keys import Ask, nobody
from motley.trainer.contract.wire import Event, Phase, Sample

HOSTS = ("desktop", "laptop", "box1", "box2")
SPEEDS = {"desktop": 1.0, "laptop": 0.5, "box1": 0.25, "box2": 0.25}
PER_SAMPLE_MS = {"desktop": 0.6, "laptop": 1.2, "box1": 2.4, "box2": 2.4}
FIXED_MS = 6.0
BATCH = 256
SPLITS = ((1, (64, 64, 64, 64)), (11, (112, 64, 40, 40)), (31, (128, 64, 32, 32)))
STEPS = 240
STEPS_PER_EPOCH = 24
START = 1_700_000_000.0

Timed = tuple[float, FeedRecord]  # seconds since the record before it


def event(
    kind: str, text: str, *, host: str = "desktop", time: float = START, level: Any = "info", **data: Any
) -> Event:
    return Event(time=time, host=host, source="supervisor", kind=kind, text=text, level=level, data=data)


def layout(run: str = "home-1", *, steps: int = STEPS, attached: bool = False) -> Layout:
    return Layout(
        run=run,
        task="simple_cnn/digits",
        policy="dynamic",
        global_batch=BATCH,
        steps_total=steps,
        leader="desktop",
        ranks=tuple(RankLayout(member=i, host=h, device="cpu") for i, h in enumerate(HOSTS)),
        emulated=frozenset(HOSTS[1:]),
        attached=attached,
    )


def equal_ms() -> float:
    return max(FIXED_MS + BATCH / len(HOSTS) * PER_SAMPLE_MS[host] for host in HOSTS)


def sample(step: int, member: int, *, batch: int | None = None, time: float = START, **changes: Any) -> Sample:
    """What the rank of `member` would write of a step under the split of that time."""
    host = HOSTS[member]
    split = [split for first, split in SPLITS if first <= step][-1]
    batch = split[member] if batch is None else batch
    noise = random.Random(step * 7 + member).uniform(0.96, 1.04)
    compute = (FIXED_MS + batch * PER_SAMPLE_MS[host]) * noise
    slowest = max(FIXED_MS + b * PER_SAMPLE_MS[h] for h, b in zip(HOSTS, split, strict=True)) * 1.05
    values: dict[str, Any] = {
        "seq": step - 1,
        "step": step,
        "epoch": (step - 1) // STEPS_PER_EPOCH,
        "time": time,
        "host": host,
        "member": member,
        "rank": member,
        "generation": 0,
        "batch": batch,
        "loss": 0.05 + 2.25 * math.exp(-step / 30) * noise,
        "compute_ms": compute,
        "wait_ms": max(0.0, slowest - compute),
        "data_ms": 0.4,
        "step_ms": slowest,
        "samples_per_s": batch / compute * 1000,
        "mem_mib": 300.0 + 25 * member,
        "gpu_util": None,
        "gain": None if member or step < 6 else equal_ms() / slowest * 1.05,
        "saved_s": None if member or step < 6 else max(0.0, step - 10) * 0.08,
    }
    return Sample(**{**values, **changes})


def startup(run: str) -> Iterator[Timed]:
    yield 0.0, layout(run)
    stages: tuple[tuple[Stage, str], ...] = (
        ("connect", "connected, host key known"),
        ("check", "Python 3.11, torch 2.13.0"),
        ("push", "trainer, 41 files"),
        ("data", "digits, 57 KB"),
        ("start", "supervisor started"),
    )
    for stage, text in stages:
        for host in HOSTS:
            yield 0.1, Progress(host=host, stage=stage, text=text, fraction=0.4)
        for host in HOSTS:
            yield 0.05, Progress(host=host, stage=stage, text=text, done=True)
    for host in HOSTS:
        yield 0.0, Link(host=host, up=True, text="connected")
        yield 0.0, event("started", "1 rank started", host=host)
    phases: tuple[Phase, ...] = ("connecting", "importing torch", "joining")
    for phase in phases:
        for member, host in enumerate(HOSTS):
            yield 0.1, event("phase", phase, host=host, member=member, phase=phase)
    missing = [{"member": 1, "host": "laptop", "phase": "importing torch"}]
    yield 0.3, event("waiting", "waiting for laptop (importing torch)", missing=missing, waited_s=4.0)
    members = [{"member": i, "host": h, "rank": i, "device": "cpu"} for i, h in enumerate(HOSTS)]
    data: dict[str, Any] = {"generation": 0, "world_size": 4, "backend": "gloo", "members": members, "shares": [64] * 4}
    yield 0.8, event("group", "generation 0: 4 ranks, gloo", **data)


def training(steps: int = STEPS, *, now: Callable[[], float] = lambda: START) -> Iterator[Timed]:
    for step in range(1, steps + 1):
        for (first, split), (_, before) in zip(SPLITS[1:], SPLITS, strict=False):
            if step == first - 1:
                current = max(FIXED_MS + b * PER_SAMPLE_MS[h] for h, b in zip(HOSTS, before, strict=True))
                predicted = max(FIXED_MS + b * PER_SAMPLE_MS[h] for h, b in zip(HOSTS, split, strict=True))
                why = f"box1 and box2 need 2.4 ms a sample, desktop 0.6: the step waited for box1 {current:.0f} ms"
                split_data = {"before": list(before), "after": list(split)}
                times: dict[str, Any] = {"predicted_ms": predicted, "current_ms": current, "why": why, **split_data}
                yield 0.0, event("decision", f"new split from step {first}", time=now(), step=first, **times)
            if step == first + 4:
                predicted = max(FIXED_MS + b * PER_SAMPLE_MS[h] for h, b in zip(HOSTS, split, strict=True))
                yield 0.0, event("realised", "", step=first, predicted_ms=predicted, realised_ms=predicted * 1.04)
        for member in range(len(HOSTS)):
            yield (0.0 if member else 0.1), sample(step, member, time=now())
        if step % STEPS_PER_EPOCH == 0:
            accuracy = 0.985 - 0.6 * math.exp(-step / 40)
            text = f"epoch {step // STEPS_PER_EPOCH}: accuracy {accuracy * 100:.1f} %"
            yield 0.0, LogLine(host="desktop", member=0, text=f"learning rate {0.05 * (1 - step / steps):.4f}")
            data: dict[str, Any] = {
                "accuracy": accuracy,
                "loss": 0.2,
                "seconds": 0.4,
                "epoch": step // STEPS_PER_EPOCH - 1,
            }
            yield 0.2, event("evaluated", text, time=now(), step=step, **data)


def summary(run: str, state: str = "finished", *, steps: int = STEPS) -> dict[str, Any]:
    hosts = [
        {"name": h, "ranks": 1, "share": b / BATCH, "samples_per_s": 9.0 * b, "state": state}
        for h, b in zip(HOSTS, SPLITS[-1][1], strict=True)
    ]
    return {
        "run": run, "state": state, "steps": steps, "epochs": steps // STEPS_PER_EPOCH, "samples": steps * BATCH,
        "seconds": 41.5, "samples_per_s": 2304.0, "final_loss": 0.061, "eval": {"accuracy": 0.983, "loss": 0.07},
        "hosts": hosts, "rebalances": 2, "regroups": [], "phases": {},
    }  # fmt: skip


class Scripted:
    """A `SessionLike`: `pace` seconds of each second of the script are waited for; 0 plays it at once.

    `cold`: what it answers when it is to take over.
    `hold` keeps the run going after the script's end until it is stopped; `fail` is raised by `launch`,
    also when the user says no to `new_key`.
    `calls` tells a test what was asked for.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        run: str = "home-1",
        pace: float = 0.0,
        hold: bool = False,
        steps: int = STEPS,
        fail: Exception | None = None,
        now: Callable[[], float] = lambda: START,
        launch_blocks: bool = False,
        cold: str = "the code has changed",
        ask: Ask = nobody,
        new_key: NewKey | None = None,
    ) -> None:
        self.run = run
        self.folder = Path("experiments") / run
        self.calls: list[str] = []
        self.played = asyncio.Event()
        self.refuses: Exception | None = None  # what a host that is to join finds
        self._emit, self._pace, self._hold, self._steps = emit, pace, hold, steps
        self._cold = cold  # why it can't take over; empty: it can
        self._fail, self._now, self._launch_blocks = fail, now, launch_blocks
        self._ask, self._new_key = ask, new_key
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._playing: asyncio.Task[None] | None = None

    async def launch(self, *, resume: str | None = None, why_cold: str = "") -> None:
        self.calls.append(f"launch {resume}" if resume else "launch")
        if why_cold:
            self._emit(event("cold_restart", f"cold restart: {why_cold}", source="console"))
        if self._new_key is not None and not await self._ask(self._new_key):
            finding = Finding("box2", "host_key", "error", "its key is not known yet", "accept it: ssh box2 true")
            raise CheckFailed([finding])
        async for record in self._paced(startup(self.run)):
            self._emit(record)
            if self._fail is not None and isinstance(record, Progress) and record.stage == "check":
                raise self._fail
        if self._launch_blocks:
            await asyncio.Event().wait()
        self._playing = asyncio.ensure_future(self._play())

    async def take_over(self, old: SessionLike, *, resume: str | None) -> str:
        self.calls.append(f"take over {old.run} from {resume}")
        if self._cold:
            return self._cold
        assert isinstance(old, Scripted)
        await old.stop(f"restart as {self.run}")
        self._emit(layout(self.run))
        self._playing = asyncio.ensure_future(self._play())
        return ""

    async def attach(self) -> None:
        self.calls.append("attach")
        self._emit(layout(self.run, attached=True))
        self._playing = asyncio.ensure_future(self._play())

    async def wait(self) -> Ended:
        return await asyncio.shield(self._ended)

    async def checkpoint(self) -> Written:
        self.calls.append("checkpoint")
        if self.refuses is not None:
            raise self.refuses
        return Written(step=STEPS, host="desktop", path="checkpoints/step_240.pt", bytes=1 << 20)

    async def join(self, name: str) -> None:
        self.calls.append(f"join {name}")
        if self.refuses is not None:
            raise self.refuses
        before = layout(self.run)
        new = RankLayout(member=len(HOSTS), host=name, device="cpu")
        self._emit(replace(before, ranks=(*before.ranks, new)))

    async def stop(self, reason: str) -> Ended:
        self.calls.append(f"stop {reason}")
        if self._playing:
            self._playing.cancel()
        return self._end("stopped")

    async def close(self) -> None:
        self.calls.append("close")
        if self._playing:
            self._playing.cancel()

    async def _play(self) -> None:
        async for record in self._paced(training(self._steps, now=self._now)):
            self._emit(record)
        self.played.set()
        if not self._hold:
            self._end("finished")

    def _end(self, state: str) -> Ended:
        record = Ended(state=state, summary=summary(self.run, state, steps=self._steps))
        if not self._ended.done():
            self._ended.set_result(record)
            self._emit(record)
        return record

    async def _paced(self, script: Iterator[Timed]) -> AsyncIterator[FeedRecord]:
        for wait_s, record in script:
            if self._pace and wait_s:
                await asyncio.sleep(wait_s * self._pace)
            yield record


FINDINGS = (
    Finding(
        "laptop", "host_key", "error", "its key is not in known_hosts", "ssh-keyscan -H laptop >> ~/.ssh/known_hosts"
    ),
    Finding("box2", "torch", "error", "no torch for /usr/bin/python3", "On box2: python3 -m pip install torch"),
    Finding("box1", "memory", "warning", "1.2 GiB free", "Close what else runs there, or set max_batch"),
)


def plan(**options: Any) -> tuple[Plan, list[Scripted]]:
    """A plan of scripted sessions and the list they are put in as they open. `no_more`: why there is no second one."""
    sessions: list[Scripted] = []
    attach, start = options.pop("attach", False), options.pop("start", True)
    file, readonly = options.pop("file", None), options.pop("readonly", False)
    no_more: Exception | None = options.pop("no_more", None)

    async def opened(emit: Emit, ask: Ask) -> Opened:
        if no_more is not None and sessions:
            raise no_more
        sessions.append(Scripted(emit, run=f"home-{len(sessions) + 1}", ask=ask, **options))
        return Opened(session=sessions[-1], speeds=SPEEDS, epochs=STEPS // STEPS_PER_EPOCH)

    opener: Callable[[Emit, Ask], Awaitable[Opened]] = opened
    made = Plan(cluster="home", open=opener, renew=opener, attach=attach, start=start, file=file, readonly=readonly)
    return made, sessions


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    fail = CheckFailed(FINDINGS) if "--fail" in sys.argv else None
    readonly = "--readonly" in sys.argv
    shown, _ = plan(pace=0.1 if "--fast" in sys.argv else 1.0, fail=fail, now=time.time, readonly=readonly)
    if "--plain" in sys.argv:
        from motley.console.commands.plain import run_plain

        print(asyncio.run(run_plain(shown)))
    else:
        from motley.console.tui.app import MotleyApp

        print(asyncio.run(MotleyApp(shown).run_async()))
