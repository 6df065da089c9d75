"""`[defaults]` and `[[hosts]]` of cluster.toml -> the hosts, each complete.

`remote.config.load` calls it; a key of a host goes before the same key of `[defaults]`, their `env` tables are joined.

    >>> table = {"hosts": [{"name": "box1", "user": "alex"}]}
    >>> read_hosts(table, "ssh", Path(), Problems({}, "cluster.toml"))[0].address
    'box1'
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from motley.remote.config.check_containers import check_containers
from motley.remote.config.cluster import Host
from motley.remote.config.problems import Problems
from motley.remote.config.schema import heading, validate
from motley.remote.config.sections import NOT_IN_DEFAULTS, EnvironmentKeys, HostKeys
from motley.remote.config.slurm_classes import expanded
from motley.remote.config.toml_lines import KeyPath
from motley.remote.config.value_rules import device_name
from motley.remote.config.ways import WAYS, Connect, Way

SSH_KEYS = ("user", "port", "identity", "jump")


def read_hosts(table: dict[str, Any], connect: Connect, folder: Path, problems: Problems) -> tuple[Host, ...]:
    """The hosts in the order of the file; `folder` is where relative key files are looked for.

    What is wrong goes to `problems`, and the key concerned is left out, so that the rest can be checked too.
    """
    shared = read_section(EnvironmentKeys, table.get("environment", {}), ("environment",), problems)
    defaults = read_section(HostKeys, table.get("defaults", {}), ("defaults",), problems, NOT_IN_DEFAULTS)
    rows = table.get("hosts", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.add(("hosts",), 'begin each host with [[hosts]], in double brackets, and name it below: name = "box1"')
        return ()
    if not rows:
        problems.add(("hosts",), 'there are none; add [[hosts]] and below it name = "box1" and its address')
        return ()
    keys = [read_section(HostKeys, row, ("hosts", index), problems) for index, row in enumerate(rows)]
    for index, row in enumerate(rows):
        if "name" not in row:
            problems.add(("hosts", index), 'has no name; add one, such as name = "box1"')
    hosts = [
        _host(index, {**shared, **defaults, **own}, [k.get("env", {}) for k in (defaults, own)], connect, folder)
        for index, own in enumerate(keys)
    ]
    _check_names(hosts, problems)
    _check_machines(hosts, problems)
    _check_speeds(hosts, keys, defaults, problems)
    _check_this_machine(hosts, keys, problems)
    sections = [(("environment",), shared), (("defaults",), defaults)]
    check_containers(hosts, [*sections, *((("hosts", index), own) for index, own in enumerate(keys))], problems)
    return expanded(hosts, [{**defaults, **own} for own in keys], problems)


def check_nodes(hosts: Sequence[Host], problems: Problems) -> None:
    """Over SSH a host is one machine: several of a class are for what hands out machines itself."""
    for index, host in enumerate(hosts):
        if host.nodes > 1:
            text = f'is {host.nodes}, which is for connect = "slurm" and "kubernetes"; otherwise '
            problems.add(("hosts", index, "nodes"), f"{text}give each machine its own [[hosts]]")


def read_section(
    keys: type, section: Any, path: KeyPath, problems: Problems, omit: Sequence[str] = ()
) -> dict[str, Any]:
    """The valid keys of one section of the file; the others go to `problems`."""
    if not isinstance(section, dict):
        problems.add(path, f"must be a table; begin it with {heading(str(path[0]))}")
        return {}
    values, found = validate(keys, section, omit)
    for problem in found:
        problems.add((*path, *problem.path), problem.text)
    return values


def _host(index: int, keys: dict[str, Any], envs: Sequence[dict[str, str]], connect: Connect, folder: Path) -> Host:
    """`keys` from all sections that concern it, `envs` those that are joined, the last one counting most."""
    name = keys.get("name", f"#{index + 1}")  # no valid name: only ever seen by the checks that follow
    chosen: Connect = keys.get("connect", connect)
    way = WAYS[chosen]
    identity, devices = keys.get("identity"), keys.get("devices", "auto")
    return Host(
        name=name,
        address=_address(way, keys, name),
        user=keys.get("user"),
        port=keys.get("port"),
        identity=_absolute(folder, identity),
        jump=keys.get("jump"),
        python=keys.get("python", None if way.own_python else "python3"),
        devices="auto" if devices == "auto" else tuple(map(device_name, devices)),
        max_batch=keys.get("max_batch"),
        relative_speed=keys.get("relative_speed"),
        env={name: value for env in envs for name, value in env.items()},
        pass_env=keys.get("pass_env", ()),
        connect=chosen,
        speed=keys.get("speed", 1.0) if way.emulated else None,
        packages=keys.get("packages") or None,
        requirements=_absolute(folder, keys.get("requirements")),
        wheels=_absolute(folder, keys.get("wheels")),
        system_site_packages=keys.get("system_site_packages", True),
        runtime=keys.get("runtime") or None,
        image=keys.get("image"),
        image_from=keys.get("image_from", "registry"),
        dockerfile=_absolute(folder, keys.get("dockerfile")),
        mounts=keys.get("mounts", ()),
        nodes=keys.get("nodes", 1),
        gpus=keys.get("gpus"),
        cpus=keys.get("cpus"),
        memory=keys.get("memory"),
        node_selector=keys.get("node_selector", {}),
    )


def _address(way: Way, keys: dict[str, Any], name: str) -> str:
    usual = name if way.address is None else way.address
    return str(keys.get("address", usual)) if way.any_address else usual


def _absolute(folder: Path, path: str | None) -> str | None:
    return os.path.join(folder.absolute(), os.path.expanduser(path)) if path else None


def _check_names(hosts: Sequence[Host], problems: Problems) -> None:
    first: dict[str, int] = {}
    for index, host in enumerate(hosts):
        if first.setdefault(host.name, index) != index:
            line = problems.line(("hosts", first[host.name], "name"))
            problems.add(("hosts", index, "name"), f'"{host.name}" is the host on line {line} already; give it another')


def _check_machines(hosts: Sequence[Host], problems: Problems) -> None:
    """No machine twice: the ranks of the two would fight over the same cores."""
    first: dict[tuple[object, ...], Host] = {}
    for index, host in enumerate(hosts):
        path: KeyPath = ("hosts", index)
        if host.way.any_address and host.address and not problems.touches(path):
            other = first.setdefault((host.address.lower(), host.port, host.user, host.jump), host)
            if other is not host:
                problems.add(
                    path, f"is the same machine as {other.name} ({host.address}); list its devices on one host"
                )


def _check_speeds(
    hosts: Sequence[Host], keys: Sequence[dict[str, Any]], defaults: dict[str, Any], problems: Problems
) -> None:
    """A speed is emulated, which only demo hosts do."""
    advice = 'is for demo hosts only; take it out, or set connect = "demo"'
    for index, host in enumerate(hosts):
        if "speed" in keys[index] and not host.way.emulated:
            problems.add(("hosts", index, "speed"), advice)
    if "speed" in defaults and not any(host.way.emulated for host in hosts):
        problems.add(("defaults", "speed"), advice)


def _check_this_machine(hosts: Sequence[Host], keys: Sequence[dict[str, Any]], problems: Problems) -> None:
    """The machine that the console runs on is one. Where it has no address, no SSH server of it is ever asked."""
    mine = [(index, host) for index, host in enumerate(hosts) if host.way.only_one]
    for index, _ in mine[1:]:
        path: KeyPath = ("hosts", index, "connect")
        told = path if "connect" in keys[index] else path[:2]
        text = f'is this machine (connect = "local"), as {mine[0][1].name} is already; one host of a cluster is, so '
        problems.add(told, text + "give this one an address and leave its connect out, or list its devices there")
    for index, host in mine:
        for key in SSH_KEYS if not host.address else ():
            if key in keys[index]:
                text = 'is for SSH, which connect = "local" does without; take it out, or give the host an address, '
                problems.add(("hosts", index, key), text + "by which it is reached from other machines")
