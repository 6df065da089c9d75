"""The address of the machine itself, by the ways from it to the others."""

from __future__ import annotations

import asyncio

import pytest

from motley.remote.preflight import own_address as module
from motley.remote.preflight.own_address import own_address, towards


def reached(*addresses: str | None) -> list[asyncio.Future[str | None]]:
    futures = []
    for address in addresses:
        futures.append(asyncio.get_running_loop().create_future())
        futures[-1].set_result(address)
    return futures


@pytest.mark.parametrize(
    ("addresses", "chosen"),
    [
        ([], "127.0.0.1"),  # alone
        ([None], "127.0.0.1"),
        (["127.0.0.1", "127.0.0.1"], "127.0.0.1"),  # beside demo hosts
        (["127.0.0.1", "10.0.0.7"], "10.0.0.7"),
        (["10.8.0.2", "192.168.0.7", "192.168.0.7"], "192.168.0.7"),
        (["fd00::7", None], "fd00::7"),
    ],
)
def test_it_is_where_most_ways_begin(addresses: list[str | None], chosen: str) -> None:
    assert towards(addresses) == chosen


async def test_hosts_that_are_slow_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OTHERS_S", 0.01)
    never: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    assert await own_address("", [never, *reached("10.0.0.7")]) == "10.0.0.7"
    assert await own_address("", [never]) == "127.0.0.1"


async def test_the_address_of_cluster_toml_counts_where_others_can_reach_this_machine_by_it() -> None:
    ways = reached("10.0.0.7")
    assert await own_address("localhost", ways) == "10.0.0.7"
    assert await own_address("192.0.2.1", ways) == "10.0.0.7"  # another machine's, such as a router's
    assert await own_address("no.such.name.invalid", ways) == "10.0.0.7"
    assert await own_address("0.0.0.0", ways) == "10.0.0.7"
