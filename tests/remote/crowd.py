"""Many hosts, and many broken connections: the second part of `make soak`. Writes tests/remote/CROWD.md.

A run of 100 demo hosts with four stand-in ranks each is started, followed, cut off, and stopped. In another run, of
three hosts, all SSH connections are cut 50 times: each host must be shown as away and then as back, and every line of
metrics that a rank wrote must be beside cluster.toml once.

    python tests/remote/crowd.py --hosts 100 --cuts 50
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from motley.remote.feed import FeedRecord, Link
from motley.remote.session.session import Session
from tests.remote.stage import Seen, Stage, cut, rehearsal
from tests.support.pages import machine, page, table

RANKS = 4  # a host
BOUND_S = 300.0  # until so many processes have started on few cores
PACE_S = 1.0  # of a stand-in's step, where there are hundreds of them
CUT_PAUSE_S = 0.2
RESULTS = Path(__file__).with_name("CROWD.md")


async def until_all_train(seen: Seen, members: int, steps: int) -> None:
    """Until every member has been seen to do so many more steps."""
    before = seen.last_steps()
    due = {member: before.get(member, 0) + steps for member in range(members)}

    def everybody(_: FeedRecord) -> bool:
        last = seen.last_steps()
        return all(last.get(member, -1) >= step for member, step in due.items())

    await seen.until(everybody, BOUND_S)


async def all_connected_again(seen: Seen, hosts: Mapping[str, str], ups: Mapping[str, int]) -> None:
    """Until every host has been shown as back once more than `ups`."""
    if not all(links(seen, up=True)[host] > ups[host] for host in hosts):
        await seen.until(
            lambda record: (  # counted anew for links alone: there are tens of thousands of samples
                isinstance(record, Link) and all(links(seen, up=True)[host] > ups[host] for host in hosts)
            ),
            BOUND_S,
        )


def links(seen: Seen, *, up: bool) -> Counter[str]:
    """How often each host was shown as away, or as back."""
    counted: Counter[str] = Counter()
    state: dict[str, bool] = {}
    for record in seen.records:
        if isinstance(record, Link):
            if record.up is up and state.get(record.host) is not up:
                counted[record.host] += 1
            state[record.host] = record.up
    return counted


async def cuts(stage: Stage, number: int) -> dict[str, str]:
    """Cut all connections of a console so many times during a run."""
    hosts = {f"box{n}": "" for n in range(3)}
    seen = Seen()
    session = stage.session("cuts", seen, stage.cluster(hosts=hosts))
    await session.launch()
    await until_all_train(seen, len(hosts), 5)
    began = time.monotonic()
    for _ in range(number):
        before = links(seen, up=True)
        cut(session)
        await all_connected_again(seen, hosts, before)
        await asyncio.sleep(CUT_PAUSE_S)
    took_s = time.monotonic() - began
    await stop(session, stage)
    assert links(seen, up=False) == Counter(dict.fromkeys(hosts, number)), links(seen, up=False)
    kept = {member: sorted(numbers) for member, numbers in stage.metrics("cuts").items()}
    assert sorted(kept) == [0, 1, 2]
    assert all(numbers == list(range(len(numbers))) for numbers in kept.values()), "lines lost or doubled"
    lines = sum(map(len, kept.values()))
    return {
        f"3 hosts, all connections cut {number} times: followed again, on average after": f"{took_s / number:.2f} s",
        "lines of metrics meanwhile, lost, doubled": f"{lines:,}, 0, 0",
    }


async def crowd(stage: Stage, number: int) -> dict[str, str]:
    """Start, follow, cut and stop a run of so many hosts."""
    devices = ", ".join(['"cpu"'] * RANKS)
    hosts = {f"box{n:03d}": f"devices = [{devices}]" for n in range(number)}
    seen = Seen()
    cluster = stage.cluster(hosts=hosts, PACE_S=str(PACE_S))
    session = stage.session("crowd", seen, cluster)
    began = time.monotonic()
    await session.launch()
    launched = time.monotonic()
    await until_all_train(seen, number * RANKS, 2)
    training = time.monotonic()
    before = links(seen, up=True)
    cut(session)
    await all_connected_again(seen, hosts, before)
    back = time.monotonic()
    await until_all_train(seen, number * RANKS, 2)
    stopping = time.monotonic()
    await stop(session, stage)
    stopped = time.monotonic()
    kept = {member: sorted(numbers) for member, numbers in stage.metrics("crowd").items()}
    assert len(kept) == number * RANKS
    assert all(numbers == list(range(len(numbers))) for numbers in kept.values()), "lines lost or doubled"
    what = f"{number} hosts with {RANKS} ranks each"
    return {
        f"{what}: checked, pushed to, all ranks started": f"{launched - began:.1f} s",
        "all ranks seen training": f"{training - launched:.1f} s later",
        "all connections cut: all hosts followed again": f"after {back - training:.1f} s",
        "stopped, each host having said that nothing is left": f"{stopped - stopping:.1f} s",
        "processes left": "0",
    }


async def stop(session: Session, stage: Stage) -> None:
    ended = await session.stop("x pressed")
    await session.close()
    assert ended.unanswered == ()
    assert stage.alive() == []


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows: dict[str, str] = {}
    for part, number in ((cuts, given.cuts), (crowd, given.hosts)):
        async with rehearsal() as stage:
            rows |= await part(stage, number)
    given.out.write_text(results(rows))
    print(given.out.read_text())


def results(rows: Mapping[str, str]) -> str:
    """CROWD.md."""
    intro = ["Made by `make soak`: demo hosts, whose SSH servers and ranks (without torch) share this machine's cores."]
    return page("Many hosts, many cuts", intro, machine(), table(("what", "measured"), list(rows.items())))


if __name__ == "__main__":
    asyncio.run(main())
