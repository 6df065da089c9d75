"""What is wrong with the network between hosts, from what they said and tried: pure. `judge` calls it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import Finding
from motley.remote.preflight.firewall import LET_IN, MIRRORED, RULES, let_in, let_out, places
from motley.remote.preflight.probe import Probe
from motley.remote.preflight.reachability import Reachability
from motley.remote.ssh.shell import motley, there

WSL_NAT = ipaddress.ip_network("172.16.0.0/12")
REASONS = {
    "ETIMEDOUT": "no answer: a firewall drops it",
    "ECONNREFUSED": "refused, by a firewall or by another machine with that address",
    "EHOSTUNREACH": "no route to it, or a firewall rejects it",
    "ENETUNREACH": "no route to it",
    "EPERM": "forbidden by a firewall",
    "EACCES": "forbidden by a firewall",
    "EINVAL": "its routes lead nowhere",
    "stranger": "another machine answers at that address",
}
Direction = Literal["in", "out", "both"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Connections to (`in`) or from (`out`) a host that fail, or both."""

    host: str
    direction: Direction
    others: tuple[str, ...]


def network(cluster: Cluster, probes: Mapping[str, Probe], meeting: Reachability) -> Iterator[Finding]:
    hosts = {host.name: host for host in cluster.hosts}
    address = leader_address(cluster, probes)
    if cluster.leader in probes:
        yield from _port(cluster, hosts[cluster.leader], probes[cluster.leader], address)
    unknown = [*_leader(cluster, probes, address)]
    if unknown:  # so they all tried the wrong address
        yield from unknown
        return
    for name, probe in probes.items():
        if probe.no_way:
            look = there(hosts[name], f"ip route get {address}") if address else "ip route"
            cause = f"it has no way to the leader's address {address}: {probe.no_way}"
            remedy = f"Give the leader an address in cluster.toml that all reach. What it knows of the way: {look}"
            yield Finding(name, "route", "error", cause, remedy)
    for gap in gaps(meeting.missed):
        yield from _gap(gap, hosts, probes, meeting)
    for name, why in meeting.absent.items():
        cause = f"whether the other hosts reach it could not be tried: {why}"
        yield Finding(name, "reach", "warning", cause, f"Try again: {motley(cluster, 'check')}")


def leader_address(cluster: Cluster, probes: Mapping[str, Probe]) -> str:
    """The address of the leader that our connection reached; empty when it did not answer."""
    return probes[cluster.leader].server_address if cluster.leader in probes else ""


def gaps(missed: Mapping[tuple[str, str], str]) -> list[Gap]:
    """The pairs (from, to) that failed, as few groups around one host each.

    >>> gaps({("box1", "box3"): "ETIMEDOUT", ("box2", "box3"): "ETIMEDOUT"})
    [Gap(host='box3', direction='in', others=('box1', 'box2'))]
    """
    left, found = dict.fromkeys(missed), []
    while left:
        groups: dict[tuple[str, Direction], list[tuple[str, str]]] = {}
        for pair in left:
            for host, direction in ((pair[1], "in"), (pair[0], "out")):
                groups.setdefault((host, direction), []).append(pair)  # type: ignore[arg-type]
            for host in reversed(pair) if pair[::-1] in left else ():
                groups.setdefault((host, "both"), []).append(pair)
        (host, direction), pairs = max(groups.items(), key=lambda group: len(group[1]))  # the first of the largest
        found.append(Gap(host, direction, tuple(dict.fromkeys(a if b == host else b for a, b in pairs))))
        for pair in pairs:
            del left[pair]
    return found


def behind_nat(probe: Probe) -> bool:
    """WSL2 with an address that only its Windows knows. Mirrored networking has an interface of its own."""
    if "microsoft" not in probe.kernel.lower() or "loopback0" in probe.interfaces or not probe.address:
        return False
    return ipaddress.ip_address(probe.address) in WSL_NAT


def _leader(cluster: Cluster, probes: Mapping[str, Probe], address: str) -> Iterator[Finding]:
    """Hosts elsewhere can't reach a leader that is known by a loopback address."""
    if not address or not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    elsewhere = [name for name, probe in probes.items() if probe.boot_id != probes[cluster.leader].boot_id]
    if elsewhere:
        cause = f"it leads, and its address {address} can't be reached from {', '.join(elsewhere)}"
        remedy = "Give its address in the network of the others in cluster.toml, or name another leader."
        yield Finding(cluster.leader, "leader", "error", cause, remedy)


def _port(cluster: Cluster, host: Host, probe: Probe, address: str) -> Iterator[Finding]:
    if not probe.port_taken:
        return
    port, step = probe.port, len(cluster.leader_ports)
    free = cluster.port + step if max(cluster.leader_ports) + step <= 65535 else cluster.port - step
    other = f"take another port: {motley(cluster, cluster.verb, '--set', f'cluster.port={free}')}"
    where = f"{port}" if port == cluster.port else f"{port}, which a script needs beside {cluster.port}"
    by = f"by {probe.port_holder}" if probe.port_holder else f"({probe.port_taken})"
    cause = f"port {where}, where the ranks meet, is in use there {by}"
    if "in use" not in probe.port_taken:
        cause = f"it leads, and nothing can listen on {address} port {port} there: {probe.port_taken}"
        remedy = f"Give its own address in cluster.toml; it has these: {there(host, 'ip -brief address')}"
    elif probe.port_run:
        cause = f"port {where}, where the ranks meet, is in use there by the run '{probe.port_run}'"
        remedy = f"Stop that run: {motley(cluster, 'stop', probe.port_run)}; or {other}"
    else:
        look = there(host, f"sudo ss -ltnp 'sport = :{port}'")
        remedy = f"{other[0].upper()}{other[1:]}; or see what it is, and end it: {look}"
    yield Finding(host.name, "port", "error", cause, remedy)


def _gap(gap: Gap, hosts: Mapping[str, Host], probes: Mapping[str, Probe], meeting: Reachability) -> Iterator[Finding]:
    probe, host, names = probes[gap.host], hosts[gap.host], ", ".join(gap.others)
    tried = [(other, gap.host) for other in gap.others] + [(gap.host, other) for other in gap.others]
    reasons = list(dict.fromkeys(meeting.missed[pair] for pair in tried if pair in meeting.missed))
    why = "; ".join(REASONS.get(reason, reason) for reason in reasons)
    at = f"at {probe.address} on TCP ports that the system picks, as training does ({why})"
    cause = {
        "in": f"{names} can't reach it {at}",
        "out": f"it can't reach {names} on TCP ports that the system picks, as training does ({why})",
        "both": f"it and {names} can't reach each other, it {at}",
    }[gap.direction]
    wsl = next((name for name in (gap.host, *gap.others) if behind_nat(probes[name])), "")
    if wsl:
        cause = f"WSL2 hides it behind NAT: only its own Windows knows the address {probes[wsl].address}. So "
        cause += f"{names} can't reach it" if wsl == gap.host else f"{gap.host} can't reach it"
        remedy = f"Let it share the network of Windows (networkingMode=mirrored); there, in PowerShell: {MIRRORED}"
        yield Finding(wsl, "reach", "error", cause, remedy)
        return
    addresses = [probes[other].address for other in gap.others]
    if "microsoft" in probe.kernel.lower() and gap.direction != "out":
        remedy = f"Open the firewall that Windows has for WSL; there, in PowerShell as administrator: {LET_IN}"
    elif reasons == ["stranger"]:
        look = there(hosts[gap.others[0]], f"ip neigh show {probe.address}")
        remedy = f"Give each machine an address of its own. Which one has this: {look}"
    else:
        rule = let_out(probe, addresses) if gap.direction == "out" else let_in(probe, addresses)
        side = f"{'to' if gap.direction == 'out' else 'from'} {', '.join(places(probe, addresses))}"
        remedy = f"Let TCP {side} on every port through its firewall: {there(host, rule)}"
        if rule == RULES:
            remedy = (
                f"A rule is missing there or on the way, TCP {side} on every port. The rules there: {there(host, rule)}"
            )
    yield Finding(gap.host, "reach", "error", cause, remedy)
