"""cluster.toml while a run is on: has it changed, is it in order, which hosts does it have now.

The app and the plain lines look every few seconds; what is new in it can be brought into the run.

    >>> file = ClusterWatch(Path("cluster.toml"))
    >>> file.look()            # as it was
    >>> file.look()            # after somebody added a host
    Look(hosts=('desktop', 'laptop', 'box5'), problems=())
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from motley.remote.errors import ConfigError

LOOK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a file that changed holds: the names of its hosts, or why it can't be used."""

    hosts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class ClusterWatch:
    """`left_out`: hosts that the user did not want, with --only. `unseen`: it is looked at though nothing changed."""

    def __init__(self, path: Path, *, left_out: Collection[str] = (), unseen: bool = False) -> None:
        self.path = path
        self._left_out = frozenset(left_out)
        self._stamp = None if unseen else _stamp(path)

    def look(self) -> Look | None:
        """What it holds now; None when that has not changed, or while there is no such file."""
        stamp = _stamp(self.path)
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        from motley.remote.config.load import load  # a replay watches no file, and has its first picture before

        try:
            hosts = load(self.path).hosts
        except ConfigError as error:
            return Look(problems=error.problems)
        return Look(hosts=tuple(host.name for host in hosts if host.name not in self._left_out))


def problem(look: Look) -> str:
    """What to say of a file that can't be used."""
    return f"cluster.toml can't be used as it is now: {'; '.join(look.problems)}. The run goes on without it"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # an editor may put the new file in the place of the old one just now
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
