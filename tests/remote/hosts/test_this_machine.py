"""Which machine a run was started on, and what a host is on another one."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import HostError
from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.this_machine import elsewhere, machine_id, machines_of

TEXT = '[[hosts]]\nname = "desk"\nconnect = "local"\n{}\n[[hosts]]\nname = "box"\nconnect = "demo"\n'
MINE, THEIRS = "1" * 64, "2" * 64


def cluster(folder: Path, more: str = "") -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(TEXT.format(more))
    return load(path)


def told(machine: str | None, *hosts: str) -> dict[str, Any]:
    machines = {} if machine is None else {"desk": machine}
    return {"run": "night", "layout": {"machines": machines, "members": [{"host": host} for host in hosts]}}


def test_the_id_is_no_machine_id_but_tells_machines_apart(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    of_name = machine_id(tmp_path)
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    found = machine_id(tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert "0123456789abcdef" not in found
    assert found == machine_id(tmp_path) != of_name
    (tmp_path / "etc/machine-id").write_text(socket.gethostname())
    assert machine_id(tmp_path) == of_name


def test_only_the_host_that_is_the_machine_itself_is_kept(tmp_path: Path) -> None:
    assert machines_of(cluster(tmp_path)) == {"desk": machine_id()}


@pytest.mark.parametrize(
    ("tables", "recorded", "away"),
    [
        ({"desk": {}, "box": {}}, {}, False),  # nobody knows of the run
        ({"desk": told(MINE), "box": told(MINE, "desk")}, {}, False),
        ({"desk": {}, "box": told(THEIRS, "desk", "box")}, {}, True),
        ({"desk": {}, "box": told(MINE, "desk", "box")}, {}, False),  # here it was cleaned away
        ({"desk": told(MINE), "box": told(THEIRS, "desk")}, {}, False),  # its own word comes first
        ({"desk": told(THEIRS)}, {}, True),  # a home that several machines share
        ({"desk": {}, "box": told(None, "desk", "box")}, {}, True),  # one that joined later
        ({"desk": {}, "box": told(None, "box")}, {}, False),  # which does not take part
        ({"desk": told(None, "desk"), "box": told(None, "desk")}, {}, False),
        ({"desk": {}}, {"desk": THEIRS}, True),  # nobody else answers
        ({}, {"desk": MINE}, False),
        ({"desk": {}, "box": {"layout": {"machines": 3, "members": "x"}}}, {}, False),  # a host that lies
        ({"desk": {}, "box": {"layout": {"machines": {"desk": 3}, "members": [1]}}}, {}, False),
    ],
)
def test_where_it_is(tmp_path: Path, tables: dict[str, Any], recorded: dict[str, str], away: bool) -> None:
    assert elsewhere(cluster(tmp_path), tables, recorded, MINE) == ["desk"] * away


async def test_elsewhere_it_is_reached_by_its_address_and_stays_so(home: Path, tmp_path: Path) -> None:  # noqa: ARG001
    known = cluster(tmp_path, 'address = "desk.example"\nuser = "ada"\nport = 2222')
    async with Hosts(known) as hosts:
        assert (await (await hosts.get("desk")).run(["true"], timeout_s=20)).code == 0
        await hosts.send_away("desk")
        there = hosts.named("desk")
        assert (there.connect, there.address, there.python) == ("ssh", "desk.example", "python3")
        assert await hosts.put(known.hosts[0]) == there  # cluster.toml has not changed
        assert (hosts.away, hosts.all_here, hosts.machines(["desk", "box"])) == ((), False, {})


async def test_elsewhere_without_an_address_it_says_so(home: Path, tmp_path: Path) -> None:  # noqa: ARG001
    async with Hosts(cluster(tmp_path)) as hosts:
        assert hosts.machines(["desk", "box"]) == {"desk": machine_id()}
        await hosts.send_away("desk")
        text = r'desk is the machine itself \(connect = "local"\): watch from there, or give it an address'
        with pytest.raises(HostError, match=text):
            await hosts.get("desk")
        assert [error.host for error in hosts.away] == ["desk"]
        assert hosts.machines(["desk", "box"]) == {}
