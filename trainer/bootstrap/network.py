"""A host's place in the network: the way to the leader, a port to be free. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import socket
import struct
import time
from typing import Any

from motley.trainer.bootstrap.files import command, names, text
from motley.trainer.bootstrap.leftovers import run_of

_ADDRESS, _NETMASK = 0x8915, 0x891B  # SIOCGIFADDR, SIOCGIFNETMASK
_LISTENING = "0A"
STARTS_S = 0.05  # from the start of a process to its environment, at most
_SYSTEM = ("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice")  # version 2 and 1


def way_to(leader: str) -> tuple[str, str]:
    """This host's address towards `leader` (numeric); or empty, and why there is no way."""
    if not leader:
        return "", ""
    try:
        with socket.socket(family_of(leader), socket.SOCK_DGRAM) as probe_socket:
            probe_socket.connect((leader, 9))  # sends nothing, picks the route
            return str(probe_socket.getsockname()[0]).split("%")[0], ""
    except OSError as error:
        return "", error.strerror or str(error)


def interface_of(address: str) -> tuple[str, str]:
    """The interface that has the address, and the network it is in: ("eth0", "10.0.0.0/24"). Empty when not known."""
    if not address:
        return "", ""
    if family_of(address) == socket.AF_INET6:
        wanted = socket.inet_pton(socket.AF_INET6, address).hex()
        for row in text("/proc/net/if_inet6").splitlines():
            if row.split()[0] == wanted:
                return row.split()[5], str(ipaddress.ip_network(f"{address}/{int(row.split()[2], 16)}", strict=False))
        return "", ""
    for name in interfaces():
        if _ask(name, _ADDRESS) == address:
            return name, str(ipaddress.ip_network(f"{address}/{_ask(name, _NETMASK) or 32}", strict=False))
    return "", ""


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _ask(interface: str, what: int) -> str:
    """An IPv4 figure of an interface; empty when it has none."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket.fileno(), what, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def firewall() -> str:
    """The one whose command adds a rule here: "ufw" when it is on, "firewalld" when it runs, "nft FAMILY TABLE CHAIN"
    when nftables.conf refuses something, else "iptables" if that is there."""
    if "ENABLED=yes" in text("/etc/ufw/ufw.conf").replace('"', ""):
        return "ufw"
    if any(os.path.isdir(group + "/firewalld.service") for group in _SYSTEM):
        return "firewalld"
    chain = _nft_chain(text("/etc/nftables.conf"))
    if chain:
        return chain
    return "iptables" if command("iptables") or os.path.exists("/usr/sbin/iptables") else ""


def _nft_chain(rules: str) -> str:
    """The chain that incoming packets pass; empty when there is none, or when nothing is refused."""
    before, hook, _ = rules.partition("hook input")
    tables = re.findall(r"^\s*table\s+(\w+)\s+(\w+)\s*\{", before, re.MULTILINE)
    chains = re.findall(r"^\s*chain\s+(\w+)\s*\{", before, re.MULTILINE)
    refuses = re.search(r"^[^#\n]*\b(drop|reject)\b", rules, re.MULTILINE)
    return f"nft {' '.join(tables[-1])} {chains[-1]}" if hook and tables and chains and refuses else ""


def port_taken(address: str, ports: list[int]) -> dict[str, Any]:
    """`port`: the first that is not free; `port_taken`: why; `port_holder`: what listens there; `port_run`: its run."""
    nothing = {"port": 0, "port_taken": "", "port_holder": "", "port_run": ""}
    for port in ports if address else []:
        with socket.socket(family_of(address), socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))  # not more: a run that starts just now is not disturbed
            except OSError as error:
                return {**nothing, "port": port, "port_taken": error.strerror or str(error), **_holder(port)}
    return nothing


def _holder(port: int) -> dict[str, str]:
    """What listens on the port. A process of a run that is just being started has no environment for a moment."""
    found = _listener(port)
    if not found.get("port_run"):
        time.sleep(STARTS_S)
        found = _listener(port) or found
    return found


def _listener(port: int) -> dict[str, str]:
    """The process that listens on the port; its user alone, where only root may see more."""
    wanted: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in text(table).splitlines()[1:]:
            cells = row.split()
            if cells[3] == _LISTENING and int(cells[1].rpartition(":")[2], 16) == port:
                wanted[f"socket:[{cells[9]}]"] = int(cells[7])
    for pid in filter(str.isdigit, names("/proc")):
        try:
            folder = f"/proc/{pid}/fd"
            if any(os.readlink(f"{folder}/{fd}") in wanted for fd in os.listdir(folder)):
                return _described(pid)
        except OSError:  # gone meanwhile, or another user's
            continue
    users = sorted({_user(uid) for uid in wanted.values()})
    return {"port_holder": f"a process of {', '.join(users)}" if users else ""}


def _described(pid: str) -> dict[str, Any]:
    words = text(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or text(f"/proc/{pid}/comm")
    folder = run_of(text(f"/proc/{pid}/environ").split("\0"))
    return {"port_holder": f"{words[:80]} (pid {pid})", "port_run": os.path.basename(os.path.dirname(folder))}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
