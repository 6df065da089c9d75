"""The network of a cluster's pods: each has a network namespace of its own, a card with an address, and a cable to a
bridge that all of them share, of the lab's parts. The bridge has an address too, at which the cluster's DNS answers.

    network = PodNetwork(look)                      # `look`: the addresses of a name
    host = await network.plug_in()
    host.namespace.enter(["ip", "address"])
    host.unplug()                                   # its processes run on, and nobody hears of them
    network.close()

Nothing of it has a name in the machine's own network, and it reaches nothing beyond the bridge. All of it ends with
the thread that has made it, at the latest.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import itertools
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.kubernetes.api.nodes import dns_server
from tests.lab import network

SUBNET = ipaddress.IPv4Network("10.244.0.0/16")
GATEWAY = str(SUBNET[1])  # the bridge itself
COMMANDS = ("ip", "nsenter", "unshare", "setpriv")
RESOLV = Path("/etc/resolv.conf")  # of this machine, in whose place a pod has its own
TRIAL = "mount -t sysfs sysfs /sys && ip link add br0 type bridge && ip link add pod1 type veth peer name eth0"


@functools.cache
def why_not() -> str | None:
    """Why pods can't have networks of their own here, with the remedy; None when they can."""
    missing = [command for command in COMMANDS if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"networks of pods need {', '.join(missing)}: apt install iproute2 util-linux"
    trial = ["unshare", "--net", "--mount", "sh", "-c", TRIAL]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        return f"networks of pods need network namespaces, which this machine refuses: {done.stderr.strip()}"
    return None if RESOLV.exists() else f"networks of pods need a {RESOLV}, in whose place each pod has one of its own"


class PodHost:
    """What one pod has of the network: from before its first process to after its last."""

    def __init__(self, bridge: network.Namespace, number: int) -> None:
        self.address = str(SUBNET[number])
        self.namespace = network.Namespace()
        self._bridge, self._port = bridge, f"pod{number}"

    def connect(self) -> None:
        """Raises NetworkError."""
        self.namespace.wait_ready()
        address = f"{self.address}/{SUBNET.prefixlen}"
        network.plug_in(self.namespace, self._bridge, port=self._port, address=address)

    def unplug(self) -> None:
        self._bridge.ip(f"link set dev {self._port} down")

    def plug(self) -> None:
        self._bridge.ip(f"link set dev {self._port} up")

    def close(self) -> None:
        """When no process of the pod is left, its cable is gone too."""
        self.namespace.end()


class PodNetwork:
    """Made in the thread of an event loop, and used there."""

    def __init__(self, look: dns_server.Look) -> None:
        self._look = look
        self._numbers = itertools.count(2)
        self._making = asyncio.Lock()
        self._bridge: network.Namespace | None = None
        self._dns: asyncio.DatagramTransport | None = None

    async def plug_in(self) -> PodHost:
        """An address that no pod has had before. Raises NetworkError."""
        host = PodHost(await self._switch(), next(self._numbers))
        try:
            await asyncio.to_thread(host.connect)
        except BaseException:
            host.close()
            raise
        return host

    def close(self) -> None:
        """After the hosts were closed."""
        if self._dns is not None:
            self._dns.close()
        if self._bridge is not None:
            self._bridge.end()

    async def _switch(self) -> network.Namespace:
        """The bridge, with DNS at its address: made for the first pod."""
        async with self._making:
            if self._bridge is None:
                bridge = network.Namespace()  # in this thread, with whose end it ends
                try:
                    listener = await asyncio.to_thread(_prepare, bridge)
                except BaseException:
                    bridge.end()
                    raise
                self._bridge, self._dns = bridge, await dns_server.serve(listener, self._look)
            return self._bridge


def _prepare(bridge: network.Namespace) -> socket.socket:
    """The socket of the DNS server. Raises NetworkError."""
    bridge.wait_ready()
    network.make_switch(bridge)
    bridge.ip(f"address add {GATEWAY}/{SUBNET.prefixlen} dev {network.SWITCH}")

    def listener() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.bind((GATEWAY, 53))
        return made

    return bridge.call(listener)
