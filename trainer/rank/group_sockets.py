"""The sockets that a process group opened, and closing them under it: the one thing that frees a stuck collective.

gloo's own `abort` does not wake a thread that waits for a host which has gone silent. Shutting its sockets down does:
the collective raises within milliseconds, here and at every peer.

Only their reading side is shut: gloo then finds the end of each, and closes it. Were the writing side shut, gloo might
still read what had come before, answer it, and forget to wake whoever waits for that answer to be sent. When a peer
was faster that happens all the same, now and then: `trainer.rank.coordinator_client` notices.

Other code of the process opens sockets, too: a tracker's, a database's, those of a DataLoader's workers. While the
group is being made every younger TCP connection counts as the group's, afterwards those of them that lead to a member.

    >>> sockets = GroupSockets(keep=line.fileno)
    >>> sockets.about_to_open()         # before the group is made
    >>> sockets.opened({"10.0.0.1"})    # it is made; its members have these addresses
    >>> sockets.shut()                  # from any thread, also while the group is being made
    12
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection


class GroupSockets:
    """Sockets are told apart by inode: a descriptor may be used again for something else."""

    def __init__(self, keep: Callable[[], int]) -> None:
        self._keep = keep  # descriptor of a socket that is not the group's, though it may be younger
        self._before: set[int] = set()
        self._own: set[int] | None = None  # None while the group is being made

    def about_to_open(self) -> None:
        """What is open now is not the group's."""
        self._before, self._own = set(_sockets()), None

    def opened(self, addresses: Collection[str]) -> None:
        """The group is made: what is opened later is not its own. `addresses`: of its members, numeric."""
        own = set()
        for inode, descriptor in _sockets().items():
            if inode not in self._before and _peer(descriptor) in addresses:
                own.add(inode)
        self._own = own

    def shut(self) -> int:
        """End every connection of the group. Returns how many there were."""
        count = 0
        kept, own = self._keep(), self._own
        for inode, descriptor in _sockets().items():
            if descriptor == kept or (inode in self._before if own is None else inode not in own):
                continue
            if _peer(descriptor) is None:
                continue
            try:
                with socket.socket(fileno=os.dup(descriptor)) as one:
                    one.shutdown(socket.SHUT_RD)
                count += 1
            except OSError:  # closed meanwhile, or not connected any more
                continue
        return count


def _peer(descriptor: int) -> str | None:
    """The address that a TCP connection leads to, numeric; None for a listener (gloo ends the process when that is
    shut down), for what is not connected any more, and for every other kind of socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
                return None
            return plain(str(one.getpeername()[0]))
    except OSError:
        return None


def plain(address: str) -> str:
    """The same for an address however it is written: without a zone, and IPv4 as such.

    >>> plain("::ffff:10.0.0.1"), plain("fe80::1%eth0")
    ('10.0.0.1', 'fe80::1')
    """
    return address.partition("%")[0].removeprefix("::ffff:")


def _sockets() -> dict[int, int]:
    """Inode and descriptor of every socket of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # it was the descriptor of this listing
            continue
        if target.startswith("socket:["):
            found[int(target[8:-1])] = int(name)
    return found
