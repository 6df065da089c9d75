"""What follows from a host's `connect`: the ways to reach a host, as data.

`remote.hosts.reach` opens the connections, and has the only other table of the ways by name; beside it messages and the
help of `connect` (`sections`) name them to people. Everybody else asks for the thing that is meant:

    >>> host.way.emulated, host.way.needs_key
    (False, True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Connect = Literal["ssh", "demo", "local", "slurm", "kubernetes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    called: str  # such a host, in a sentence
    address: str | None = None  # where it is, when cluster.toml does not say; None: its name
    any_address: bool = True  # cluster.toml may give an address
    needs_key: bool = False  # it lets the user in by a key, over SSH
    here: bool = False  # it is the console's machine: commands to paste go into its terminal as they are
    own_python: bool = False  # it runs with the console's Python unless cluster.toml names another one
    served: bool = False  # the console serves it, over SSH on loopback
    emulated: bool = False  # several of these share one machine, and may be slowed
    placed: bool = False  # a job says which machine it is, and only as long as the job is (`remote.placement`)
    starts_runs: bool = False  # its hosts start a run by themselves, with what the placement gave them
    only_one: bool = False  # a cluster has one of these at most: the machine that the console runs on

    @property
    def is_node(self) -> bool:
        """Slurm gives it: what is to run there, is brought there."""
        return self.placed and not self.starts_runs


LOOPBACK = "127.0.0.1"
WAYS: dict[Connect, Way] = {
    "ssh": Way(called="a host reached over SSH", needs_key=True),
    "demo": Way(
        called="a demo host", address=LOOPBACK, any_address=False, here=True, own_python=True, served=True,
        emulated=True,
    ),
    "local": Way(called="this machine", address="", here=True, own_python=True, only_one=True),
    "slurm": Way(called="a node of a Slurm job", address="", any_address=False, placed=True),
    "kubernetes": Way(called="a pod of Kubernetes", address="", any_address=False, placed=True, starts_runs=True),
}  # fmt: skip
