"""Hosts that connect to each other before a run: who takes part, who is missed, and nothing that stays."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Mapping

import pytest

from motley.remote.hosts.pool import Hosts, python_of
from motley.remote.preflight.host_inspection import inspect_host
from motley.remote.preflight.reachability import Reachability, Rendezvous
from motley.trainer.bootstrap import reachability as there
from tests.remote.conftest import MakeCluster
from tests.remote.preflight.test_judge import GOOD

LOCAL = "127.0.0.1"
TOKEN = "f00"


@pytest.fixture
async def hosts(make_cluster: MakeCluster) -> AsyncIterator[Hosts]:
    text = "".join(f'[[hosts]]\nname = "box{n}"\n' for n in range(3))
    async with Hosts(make_cluster(f'[cluster]\nname = "demo"\nconnect = "demo"\n{text}')) as made:
        yield made


async def meet(hosts: Hosts, addresses: Mapping[str, str]) -> Reachability:
    room = Rendezvous.of({name: dataclasses.replace(GOOD, address=address) for name, address in addresses.items()})

    async def come(name: str, address: str) -> None:
        async with inspect_host(await hosts.get(name), python_of(hosts.named(name))) as host:
            await room.attend(host, name, address)

    coming = [asyncio.ensure_future(come(name, address)) for name, address in addresses.items()]
    met = await room.until_over()
    await asyncio.gather(*coming)
    return met


async def test_hosts_that_reach_each_other(hosts: Hosts) -> None:
    met = await meet(hosts, dict.fromkeys(("box0", "box1", "box2"), LOCAL))
    assert met == Reachability(asked=frozenset({"box0", "box1", "box2"}))


async def test_one_without_its_address_is_absent_and_the_others_meet(hosts: Hosts) -> None:
    met = await meet(hosts, {"box0": LOCAL, "box1": LOCAL, "box2": "192.0.2.1"})
    assert met.missed == {}
    assert list(met.absent) == ["box2"]
    assert "assign requested address" in met.absent["box2"]


async def test_one_without_a_way_does_not_come_and_one_alone_meets_nobody(hosts: Hosts) -> None:
    assert (await meet(hosts, {"box0": LOCAL, "box1": LOCAL, "box2": ""})).asked == {"box0", "box1"}
    assert await meet(hosts, {"box0": LOCAL, "box1": ""}) == Reachability(asked=frozenset({"box0"}))


def serving(family: socket.AddressFamily = socket.AF_INET, address: str = LOCAL) -> tuple[str, int]:
    """Where one called box1 tells who is there, as long as the tests run."""
    listener = socket.create_server((address, 0), family=family)
    threading.Thread(target=there.serve, args=(listener, TOKEN, "box1"), daemon=True).start()
    return address, int(listener.getsockname()[1])


def test_only_who_shows_the_token_is_told_who_is_here() -> None:
    place = serving()
    assert there.missed({"box1": place}, LOCAL, TOKEN, 2.0) == {}
    assert there.missed({"box1": place}, LOCAL, "other", 2.0) == {"box1": "stranger"}
    assert there.missed({"box2": place}, LOCAL, TOKEN, 2.0) == {"box2": "stranger"}


def test_two_meet_over_ipv6() -> None:
    assert there.missed({"box1": serving(socket.AF_INET6, "::1")}, "::1", TOKEN, 2.0) == {}


def test_a_guest_that_says_nothing_keeps_nobody_from_being_greeted_and_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(there, "HELLO_S", 0.2)
    place = serving()
    with socket.create_connection(place) as silent:
        assert there.missed({"box1": place}, LOCAL, TOKEN, 2.0) == {}
        silent.settimeout(10)
        assert silent.recv(1) == b""


def test_a_line_that_never_ends_is_no_token() -> None:
    place = serving()
    with socket.create_connection(place) as talker:
        talker.settimeout(10)
        talker.sendall(b"x" * there.LINE)
        assert talker.recv(1) == b""
    assert there.missed({"box1": place}, LOCAL, TOKEN, 2.0) == {}


def test_a_hundred_are_visited_at_once() -> None:
    place = serving()
    with socket.socket() as closed:
        closed.bind((LOCAL, 0))
        nobody = (LOCAL, int(closed.getsockname()[1]))
        peers = {f"box{n}": nobody for n in range(2, 101)} | {"box1": place}
        assert there.missed(peers, LOCAL, TOKEN, 2.0) == dict.fromkeys(sorted(peers.keys() - {"box1"}), "ECONNREFUSED")


def test_why_a_host_was_missed() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = ("127.0.0.1", int(closed.getsockname()[1]))
        assert there.missed({"box1": place}, "127.0.0.1", TOKEN, 2.0) == {"box1": "ECONNREFUSED"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = ("127.0.0.1", int(silent.getsockname()[1]))
        assert there.missed({"box1": place}, "127.0.0.1", TOKEN, 0.1) == {"box1": "ETIMEDOUT"}
