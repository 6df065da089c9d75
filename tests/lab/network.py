"""Network namespaces, each held open by a sleeping process, and the cables between them. Used by `tests.lab.lab`, and
for the pods of `tests.kubernetes`.

Nothing has a name in the machine's own namespace: no link, no address, no /run/netns. When its holder ends, a
namespace and all that is in it is gone, so ending processes is all the clearing up there is.

    bridge, box = Namespace(group), Namespace(group)
    bridge.ip("link add br0 type bridge", "link set br0 up")
    plug_in(box, bridge, port="box1", address="10.77.0.11/24")
    subprocess.run(box.enter(["ip", "address"]))
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.lab.cgroup import Cgroup

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
CARD = "eth0"
SWITCH = "br0"


class NetworkError(RuntimeError):
    """`ip` or `tc` refused; the message is theirs."""


class Namespace:
    def __init__(self, group: Cgroup | None = None) -> None:
        """Without a group it ends with the thread that has made it, at the latest."""
        hold = "ip link set lo up && echo ready && exec sleep infinity"
        bound = "exec setpriv --pdeathsig KILL" if group is None else f"{group.join_command()} && exec"
        self._holder = subprocess.Popen(
            ["sh", "-c", f'{bound} unshare --net sh -c "{hold}"'],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._holder.pid

    def wait_ready(self) -> None:
        assert self._holder.stdout is not None
        answer = self._holder.stdout.readline()
        if answer != "ready\n":
            raise NetworkError(f"a network namespace could not be made: {answer.strip()}")

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in here; it is replaced by `argv`, so its pid and signals are argv's."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv]

    def call(self, make: Callable[[], T]) -> T:
        """What `make` returns, called by a thread that is in here: sockets that it makes belong here for good."""

        def inside() -> T:
            handle = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle, CLONE_NEWNET) != 0:
                    raise NetworkError(f"a network namespace can't be entered: {os.strerror(ctypes.get_errno())}")
            finally:
                os.close(handle)
            return make()

        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(inside).result()

    def ip(self, *commands: str) -> None:
        _batch(self.enter(["ip", "-batch", "-"]), commands)

    def tc(self, *commands: str) -> None:
        _batch(self.enter(["tc", "-batch", "-"]), commands)

    def end(self) -> None:
        self._holder.kill()
        self.reap()

    def reap(self) -> None:
        """After the group's processes were ended: takes note of it, closes the pipe."""
        self._holder.wait(timeout=10)
        if self._holder.stdout is not None:
            self._holder.stdout.close()


def _batch(argv: Sequence[str], commands: Sequence[str]) -> None:
    done = subprocess.run(
        argv, input="\n".join(commands) + "\n", capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        raise NetworkError(f"{'; '.join(commands)}: {done.stderr.strip()}")


def make_switch(bridge: Namespace) -> None:
    bridge.ip(f"link add name {SWITCH} type bridge forward_delay 0", f"link set dev {SWITCH} up")


def plug_in(namespace: Namespace, bridge: Namespace, *, port: str, address: str) -> None:
    """A cable from the namespace's card to a port of the switch.

    The card's hardware address follows from its IP address: a machine that boots again keeps it, and its peers, which
    remember it for minutes, must find it.
    """
    octets = address.partition("/")[0].split(".")
    hardware = ":".join(["02", "00", *(f"{int(octet):02x}" for octet in octets)])
    bridge.ip(
        f"link add name {port} type veth peer name {CARD} address {hardware} netns {namespace.pid}",
        f"link set dev {port} master {SWITCH} up",
    )
    namespace.ip(f"address add {address} dev {CARD}", f"link set {CARD} up")


def forget(namespace: Namespace, address: str) -> None:
    """What it knows of the address, as if the machine there had announced itself.

    Linux asks three times in 3 s who has an address. Whoever connects in the third second is told "no route to host"
    at its end, although the machine has come up since: it was asked before.
    """
    namespace.ip(f"neigh flush to {address}")


def limit_speed(namespace: Namespace, bridge: Namespace, *, port: str, mbit: float | None) -> None:
    """Both directions of the cable carry at most `mbit` Mbit/s; None: as fast as memory."""
    for end, device in ((namespace, CARD), (bridge, port)):
        if mbit is None:
            end.tc(f"qdisc replace dev {device} root noqueue")
        else:
            end.tc(f"qdisc replace dev {device} root tbf rate {mbit}mbit burst 256kb latency 50ms")
