"""The sockets that a process group opened, and closing them under it: the one thing that frees a stuck collective.

gloo's own `abort` does not wake a thread that waits for a host which has gone silent. Shutting its sockets down does:
the collective raises within milliseconds, here and at every peer.

Only their reading side is shut: gloo then finds the end of each, and closes it. Were the writing side shut, gloo might
still read what had come before, answer it, and forget to wake whoever waits for that answer to be sent. When a peer
was faster that happens all the same, now and then: `trainer.rank.coordinator_client` notices.

    >>> sockets = GroupSockets(keep=line.fileno)
    >>> sockets.about_to_open()         # before the group is made
    >>> sockets.shut()                  # from any thread, also while the group is being made
    12
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


class GroupSockets:
    """Sockets are told apart by inode: a descriptor may be used again for something else."""

    def __init__(self, keep: Callable[[], int]) -> None:
        self._keep = keep  # descriptor of a socket that is not the group's, though it may be younger
        self._before: set[int] = set()

    def about_to_open(self) -> None:
        """What is open now is not the group's."""
        self._before = set(_sockets())

    def shut(self) -> int:
        """End every connection of the group. Returns how many there were."""
        count = 0
        kept = self._keep()
        for inode, descriptor in _sockets().items():
            if inode in self._before or descriptor == kept:
                continue
            try:
                with socket.socket(fileno=os.dup(descriptor)) as one:
                    one.getpeername()  # raises for a listener: gloo ends the process when that is shut down
                    one.shutdown(socket.SHUT_RD)
                count += 1
            except OSError:  # closed meanwhile, or a listener, or not connected any more
                continue
        return count


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
