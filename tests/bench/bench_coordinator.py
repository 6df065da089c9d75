"""The coordinator with 1,000 members: `python tests/bench/bench_coordinator.py`.

The coordinator is the real one, in a process of its own; the members are connections of this process that greet it,
form a group and send their signs of life, and train nothing. Measured: the CPU time it takes while nothing happens, and
how long after one member falls silent, or hangs up, all others have heard of it. Ends with exit code 1 when that is
10 % of a core or more, or more than 2 seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.trainer.contract.handshake import beat_s, proof
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.host.paths import run_folder
from motley.trainer.supervisor.coordinator_socket import listen
from tests.bench.results import record, yardstick

ROOT = Path(__file__).resolve().parents[2]
MEMBERS, REST_S, LOSSES = 1000, 20.0, 3
MOST_CORES, MOST_S = 0.10, 2.0
BOUND_S = 60.0


class TooLong(Exception):
    """Not all members have heard of a change within `BOUND_S`. `found`: what was measured by then."""

    def __init__(self, found: dict[str, float]) -> None:
        super().__init__(f"not within {BOUND_S:.0f} s")
        self.found = found


class One:
    """One member: it is in the group, and hears of each change."""

    def __init__(self, spec: Spec, number: int) -> None:
        self.spec = spec
        self.number = number
        self.silent = False
        self.heard: dict[str, list[float]] = {"group": [], "regroup": []}
        self.group_bytes = 0
        self.changed = asyncio.Event()

    async def dial(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            self.spec.leader_address, self.spec.port, limit=1 << 24
        )
        nonce, mine = json.loads(await self.reader.readline())["nonce"], secrets.token_hex(16)
        host = self.spec.members[self.number].host
        words = proof(self.spec.token, "rank", self.number, host, nonce, mine)
        self.say(member=self.number, host=host, nonce=mine, proof=words)
        await self.reader.readline()
        self.attempt = 0
        self.ready()

    def say(self, **message: object) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    def ready(self) -> None:
        self.attempt += 1
        self.say(
            op="ready", times={}, store=["127.0.0.1", 1], step=5, term=0, generation=len(self.heard["group"]) - 1,
            attempt=self.attempt,
        )  # fmt: skip

    async def listen(self) -> None:
        while text := await self.reader.readline():
            if text == b"\n" or self.silent:
                continue
            op = json.loads(text)["op"]
            if op in self.heard:
                self.heard[op].append(time.monotonic())
                self.changed.set()
            if op == "regroup":
                self.ready()
            if op == "group":
                self.group_bytes = len(text)
                self.say(op="joined")

    async def until(self, op: str, count: int) -> float:
        while len(self.heard[op]) < count:
            self.changed.clear()
            await self.changed.wait()
        return self.heard[op][count - 1]


async def beat(members: list[One]) -> None:
    """Every member's sign of life, spread over the interval as it is among hosts."""
    began, sent, every_s = time.monotonic(), 0, beat_s(len(members))
    while True:
        due = int((time.monotonic() - began) / every_s * len(members))
        for i in range(sent, due):
            member = members[i % len(members)]
            if not member.silent:
                member.writer.write(b'{"op": "beat", "step": 5, "arrived": 5, "stage": 0, "moves": 0}\n')
        sent = due
        await asyncio.sleep(0.01)


async def measure(spec: Spec, coordinator: subprocess.Popen[bytes]) -> dict[str, float]:
    """Raises TooLong."""
    found: dict[str, float] = {}
    try:
        return await _measure(spec, coordinator, found)
    except asyncio.TimeoutError as error:
        raise TooLong(found) from error


async def _measure(spec: Spec, coordinator: subprocess.Popen[bytes], found: dict[str, float]) -> dict[str, float]:
    members = [One(spec, i) for i in range(len(spec.members))]
    began = time.monotonic()
    for start in range(0, len(members), 50):
        await asyncio.gather(*(m.dial() for m in members[start : start + 50]))
    tasks = [asyncio.ensure_future(m.listen()) for m in members]
    tasks.append(asyncio.ensure_future(beat(members)))
    await asyncio.wait_for(asyncio.gather(*(m.until("group", 1) for m in members)), BOUND_S)
    found |= {"first": time.monotonic() - began, "first_cpu": cpu_s(coordinator.pid)}
    found["group_kib"] = members[0].group_bytes / 1024
    before = cpu_s(coordinator.pid)
    await asyncio.sleep(REST_S)  # nothing happens, for so long
    found["cores"] = (cpu_s(coordinator.pid) - before) / REST_S
    found["mib"] = resident_mib(coordinator.pid)
    known: dict[str, list[float]] = {"silent": [], "hung up": []}
    left, groups = list(members), 1
    for how in ("silent", "hung up") * LOSSES:
        lost = left.pop()
        began = time.monotonic()
        lost.silent = True
        if how == "hung up":
            lost.writer.close()
        groups += 1
        told = await asyncio.wait_for(asyncio.gather(*(m.until("regroup", groups - 1) for m in left)), BOUND_S)
        known[how].append(max(told) - began)
        found[how] = max(known[how])
        await asyncio.wait_for(asyncio.gather(*(m.until("group", groups) for m in left)), BOUND_S)
        found["again"] = time.monotonic() - began
    for task in tasks:
        task.cancel()
    return {**found, "median": median(known["silent"])}


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(members: int, lost_after_s: float = ElasticOptions().lost_after_s) -> dict[str, float]:
    """Of a coordinator with so many members: `cores` at rest, `mib` of memory, seconds until everybody has heard of a
    loss by its kind, until the `first` group and the last one (`again`) were formed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # which only root may raise
    wanted = 2 * members + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    with tempfile.TemporaryDirectory() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        spec = Spec(
            run="night", host="box0", token="5a" * 32, leader="box0", leader_address="127.0.0.1", port=port,
            members=tuple(Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(members)),
            options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(lost_after_s=lost_after_s),
            data=DataOptions(), env={},
        )  # fmt: skip
        folder = run_folder("night", "box0", home=Path(home))
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec.to_json())
        with listen("127.0.0.1", port) as listener:
            words = ["coordinate", "--run", "night", "--host", "box0", "--listen-fd", str(listener.fileno())]
            env = {**os.environ, "HOME": home}
            coordinator = subprocess.Popen(
                [sys.executable, "-m", "motley.trainer", *words], pass_fds=[listener.fileno()], env=env,
                cwd=ROOT,
            )  # fmt: skip
        try:
            return asyncio.run(measure(spec, coordinator))
        finally:
            coordinator.kill()
            coordinator.wait()


def main() -> int:
    found = measured(MEMBERS)
    rows = [
        yardstick(),
        ("CPU at rest", f"{found['cores']:.1%} of a core"),
        ("a silent member is known to all after, longest of 3", f"{found['silent']:.2f} s"),
        ("one that hung up is known to all after, longest of 3", f"{found['hung up']:.2f} s"),
    ]
    print(record("Coordinator", f"{MEMBERS:,} members that train nothing.", rows))
    return int(found["cores"] >= MOST_CORES or max(found["silent"], found["hung up"]) > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
