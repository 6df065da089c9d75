"""Stops and kills at random moments, many times over, on demo hosts: `make soak`. Writes tests/remote/SOAK.md.

Runs of stand-in ranks (real trainer code that imports no torch) are started, disturbed, and ended in one of the ways
that users have. After each no process may be left anywhere, and every line of metrics that a rank wrote must be beside
cluster.toml once.

    python tests/remote/soak.py --acts 1000 --seed 1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.remote.feed import Ended
from motley.remote.session.session import Session
from motley.trainer.host.paths import read_json
from tests.remote.stage import FOREVER, Seen, Stage, cut, rehearsal
from tests.support.pages import machine, page, soak_rows
from tests.support.proc import cmdline

HOSTS = {"box0": "", "box1": "", "box2": ""}
MOST_ACTS = 3  # before a run's end
PAUSE_S = 0.4  # between two of them, at most
STUBBORN = 1 / 6  # of the runs have ranks that do not hear TERM, with children in sessions of their own
END_S = 60.0
RESULTS = Path(__file__).with_name("SOAK.md")


class Night:
    """One run, from its start to its end."""

    def __init__(self, stage: Stage, name: str, generator: random.Random) -> None:
        self.stage = stage
        self.name = name
        self.random = generator
        self.done: list[str] = []  # what was done to it, in order
        env = {"STUBBORN": "1"} if generator.random() < STUBBORN else {}
        self._steps = generator.choice([FOREVER, FOREVER, FOREVER, 60])
        self._cluster = stage.cluster(steps=self._steps, hosts=HOSTS, **env)
        self.session = self._console()

    def _console(self) -> Session:
        return self.stage.session(self.name, Seen(), self._cluster)

    async def live(self) -> Ended | None:
        """Start it, disturb it, end it: how it ended; None for a start that was broken off."""
        starting = asyncio.ensure_future(self.session.launch())
        if self.random.random() < 0.1:
            await asyncio.wait([starting], timeout=self.random.uniform(0.0, 1.5))
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            self.done.append("start broken off")
            if starting.cancelled():
                return None
        await starting
        for _ in range(self.random.randint(0, MOST_ACTS)):
            await asyncio.sleep(self.random.uniform(0.0, PAUSE_S))
            name = self.random.choice(list(ACTS))
            await ACTS[name](self)
            self.done.append(name)
        await asyncio.sleep(self.random.uniform(0.0, PAUSE_S))
        name = self.random.choice(list(ENDS)) if self._steps == FOREVER else BY_ITSELF
        self.done.append(name)
        return await ENDS.get(name, Night.by_itself)(self)

    def folder(self, host: str) -> Path:
        return self.stage.run_folder(self.name, host)

    # What is done to it

    async def rank_killed(self) -> None:
        ranks = read_json(self.folder(self._any_host()) / "state.json").get("ranks", [])
        kill(*(rank["pid"] for rank in ranks if rank["code"] is None and rank["pid"] is not None))

    async def supervisor_killed(self) -> None:
        state = read_json(self.folder(self._any_host()) / "state.json")
        kill(*([state["pid"]] if state.get("state") == "running" else []))

    async def coordinator_killed(self) -> None:
        kill(*(pid for pid in self.stage.alive() if b"\0coordinate\0" in cmdline(pid)))

    async def connections_cut(self) -> None:
        cut(self.session)

    async def console_left(self) -> None:
        """And another one came."""
        await self.session.close()
        self.session = self._console()
        await self.session.attach()

    def _any_host(self) -> str:
        return self.random.choice(list(HOSTS))

    # How it ends

    async def stopped(self) -> Ended:
        return await self.session.stop("x pressed")

    async def stopped_elsewhere(self) -> Ended:
        other = self._console()
        await other.attach()
        await other.stop("motley stop")
        await other.close()
        return await self.session.wait()

    async def stopped_twice(self) -> Ended:
        other = self._console()
        await other.attach()
        ended, _ = await asyncio.gather(self.session.stop("x pressed"), other.stop("motley stop"))
        await other.close()
        return ended

    async def stopped_while_cut(self) -> Ended:
        asyncio.get_running_loop().call_later(self.random.uniform(0.0, 0.5), cut, self.session)
        return await self.session.stop("x pressed")

    async def by_itself(self) -> Ended:
        return await self.session.wait()


ACTS: dict[str, Callable[[Night], Awaitable[None]]] = {
    "rank killed": Night.rank_killed,
    "supervisor killed": Night.supervisor_killed,
    "coordinator killed": Night.coordinator_killed,
    "connections cut": Night.connections_cut,
    "console left and back": Night.console_left,
}
BY_ITSELF = "end by itself"  # which a lost host may keep it from, and nothing else that is done here
ENDS: dict[str, Callable[[Night], Awaitable[Ended]]] = {
    "stopped": Night.stopped,
    "stopped from elsewhere": Night.stopped_elsewhere,
    "stopped twice at once": Night.stopped_twice,
    "stopped while connections break": Night.stopped_while_cut,
}


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def written(night: Night) -> dict[int, list[int]]:
    """The numbers of the lines that each member wrote on its host, in order."""
    found: dict[int, list[int]] = {}
    for member, host in enumerate(HOSTS):
        paths = night.folder(host).glob(f"rank_{member}*.jsonl")
        found[member] = sorted(json.loads(line)["seq"] for path in paths for line in path.read_bytes().splitlines())
    return {member: numbers for member, numbers in found.items() if numbers}


def told(night: Night) -> str:
    """What its hosts say of themselves, for a run that did not come to its end."""
    lines = []
    with contextlib.suppress(OSError):
        lines.append(f"== events.jsonl\n{(night.stage.experiment(night.name) / 'events.jsonl').read_text()}")
    for host in HOSTS:
        for name in ("state.json", "lead.json", "stop.json", "events.jsonl", "supervisor.log", "coordinator.out"):
            with contextlib.suppress(OSError):
                lines.append(f"== {host} {name}\n{(night.folder(host) / name).read_text()}")
    return "\n".join(lines)


async def one_night(stage: Stage, name: str, generator: random.Random) -> tuple[Night, Ended | None]:
    """Raises AssertionError when something is left, or lost."""
    night = Night(stage, name, generator)
    try:
        ended = await asyncio.wait_for(night.live(), END_S)
    except BaseException as error:
        error.args = (f"{type(error).__name__} in {name}: {', '.join(night.done)}\n{told(night)}", *error.args)
        raise
    await night.session.close()
    story = f"{name}: {', '.join(night.done)}"
    left = {pid: cmdline(pid) for pid in stage.alive()}
    assert not left, f"{story}: processes are left: {left}\n{told(night)}"
    if ended is not None:
        assert ended.unanswered == (), f"{story}: no answer from {ended.unanswered}"
        if night.done[-1] == BY_ITSELF and "supervisor killed" not in night.done:
            assert ended.state == "finished", f"{story}: {ended.state}\n{told(night)}"
        kept = {member: sorted(numbers) for member, numbers in stage.metrics(name).items() if numbers}
        assert kept == written(night), f"{story}: lines of metrics were lost or doubled"
        assert all(n == list(range(len(n))) for n in kept.values()), f"{story}: gaps in {kept}"
    return night, ended


async def soak(stage: Stage, *, acts: int, seed: int, say: Callable[[str], None] = print) -> tuple[Counter[str], int]:
    """Until so many stops and kills have happened: how often each, and in how many runs."""
    generator = random.Random(seed)
    counted: Counter[str] = Counter()
    number = 0
    while counted.total() < acts:
        night, ended = await one_night(stage, f"night-{number}", generator)
        counted.update(night.done)
        number += 1
        say(f"{counted.total():5d}  {night.name} {ended.state if ended else 'not started'}: {', '.join(night.done)}")
    return counted, number


def results(counted: Counter[str], nights: int, seed: int, seconds: float) -> str:
    """SOAK.md."""
    intro = [
        f"Made by `make soak`: runs on {len(HOSTS)} demo hosts with ranks that import no torch are disturbed and ended",
        "at random moments. After each, no process was left and each line of metrics was here once.",
    ]
    return page("Soak", intro, machine(f"seed {seed}", f"{seconds / 60:.0f} minutes"), soak_rows(counted, nights))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--acts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    began = time.monotonic()
    async with rehearsal() as stage:
        counted, nights = await soak(stage, acts=given.acts, seed=given.seed, say=lambda text: print(text, flush=True))
    given.out.write_text(results(counted, nights, given.seed, time.monotonic() - began))
    print(given.out.read_text())


if __name__ == "__main__":
    asyncio.run(main())
