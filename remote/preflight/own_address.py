"""The address by which the other hosts know the machine itself, when it leads: no connection to it tells that.

>>> towards(["192.168.0.7", None, "192.168.0.7", "10.8.0.2"])
'192.168.0.7'
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Collection, Iterable

from motley.remote.config.ways import LOOPBACK

OTHERS_S = 1.0  # for the others to be connected: after that, those that are decide


async def own_address(given: str, reached: Collection[asyncio.Future[str | None]]) -> str:
    """Numeric. `given`: in cluster.toml, or empty; it counts where it is one of this machine's that others can reach.
    `reached`: of each other host, once it is connected or known not to be, our address on the way there."""
    if given:
        found = await asyncio.to_thread(_usable, given)
        if found:
            return found
    if reached:
        await asyncio.wait(reached, timeout=OTHERS_S)
    return towards(future.result() for future in reached if future.done() and not future.cancelled())


def towards(addresses: Iterable[str | None]) -> str:
    """The one that most ways begin at; that of a way to this machine itself where there is no other, or no way."""
    known = [address for address in addresses if address]
    far = [address for address in known if not ipaddress.ip_address(address).is_loopback]
    return Counter(far or known or [LOOPBACK]).most_common(1)[0][0]


def _usable(given: str) -> str:
    """The first address of that name which this machine has, and not alone for itself; empty where there is none."""
    try:
        rows = socket.getaddrinfo(given, None, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    for family, _, _, _, (address, *_) in rows:
        text = str(address).partition("%")[0]
        if ipaddress.ip_address(text).is_loopback or ipaddress.ip_address(text).is_unspecified:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            try:
                trial.bind((text, 0))
            except OSError:
                continue
        return text
    return ""
