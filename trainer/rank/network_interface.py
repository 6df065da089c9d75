"""The interface that has this host's address in the cluster's network. Standard library only.

>>> interface_of("10.0.0.3")
'eth0'
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import MutableMapping
from pathlib import Path

SIOCGIFADDR = 0x8915


def interface_of(address: str) -> str | None:
    """Name of the network interface that has the address, None when no interface does."""
    if ":" in address:
        wanted = ipaddress.ip_address(address.partition("%")[0]).packed.hex()
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
        return next((line.split()[-1] for line in lines if line.startswith(wanted)), None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an IPv4 address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return "lo" if ipaddress.ip_address(address).is_loopback else None


def use_interface(address: str, env: MutableMapping[str, str] = os.environ) -> str | None:
    """Tell gloo and NCCL which interface to use: the one with our address in the cluster. Returns its name.

    What `env` says already holds.
    """
    name = interface_of(address)
    if name is not None:
        env.setdefault("GLOO_SOCKET_IFNAME", name)
        env.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
    return name
