"""The coordinator's process on this host, as long as this host leads the run. The supervisor looks after it."""

from __future__ import annotations

import dataclasses
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import follow, lead_of, restarted
from motley.trainer.host.run_members import hosts_of, roll_of
from motley.trainer.supervisor.child import Child, pids
from motley.trainer.supervisor.child_end import LIVED_S, STARTS, is_killed
from motley.trainer.supervisor.coordinator_socket import listen


class CoordinatorProcess:
    """`child` is None while another host leads. `start` makes one that serves on a descriptor."""

    def __init__(self, spec: Spec, folder: Path, journal: Journal, start: Callable[[int], Child]) -> None:
        self.child: Child | None = None
        self._spec = spec
        self._folder = folder
        self._journal = journal
        self._start = start
        self._term = lead_of(folder, spec).term
        self._killed = 0  # in a row

    @property
    def lives(self) -> bool:
        return self.child is not None and self.child.code is None

    def start(self, listener: socket.socket) -> None:
        """On the socket that the hosts were told of."""
        self.child = self._start(listener.fileno())
        listener.close()

    def look_who_leads(self) -> None:
        """Start the coordinator when this host has become the leader; end it when another has."""
        lead = lead_of(self._folder, self._spec)
        if lead.term <= self._term:
            return
        self._term = lead.term
        processes.send(pids([self.child]), signal.SIGKILL)
        self.child = None
        if lead.leader == self._spec.host:
            try:
                with listen(lead.address, lead.port) as listener:
                    self.child = self._start(listener.fileno())
            except OSError as error:
                self._journal.write("note", str(error), "error")
                return
        self._journal.write("leader", f"{lead.leader} leads the run from now on", "warning", **dataclasses.asdict(lead))

    def ended(self, child: Child, code: int, how: str) -> None:
        """It failed or was killed. After that another takes its place, a few times in a row, and the ranks call it."""
        self._journal.write("note", f"the coordinator {how}: {child.output.tail()}", "error")
        lived = time.monotonic() - child.began > LIVED_S
        self._killed = 1 if lived else self._killed + 1
        lead = lead_of(self._folder, self._spec)
        if is_killed(code) and self._killed <= STARTS and lead.leader == self._spec.host:  # no console named another
            again = restarted(lead, hosts_of(self._spec, roll_of(self._folder)))
            follow(self._folder, self._spec, again, lambda text: self._journal.write("note", text, "warning"))
