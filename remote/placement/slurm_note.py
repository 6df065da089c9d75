"""What a job notes of itself, for consoles that find it: which hosts its nodes are, and which nodes it had as it began.
It stands in the job's Comment, which its script writes. Pure.

    >>> noted("motley:fast-[1-2];slow:n[7-8];s1")
    Noted(hosts=('fast-[1-2]', 'slow'), nodes=('n[7-8]', 's1'))

A console without `--only` finds a job of some of its hosts; one of another cluster.toml is told so. Whoever may change
a job may write anything there: what does not look like a note is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

MARK = "motley:"
MOST = 400  # characters of the hosts: Slurm takes a comment of 1,024, in which the nodes have to find room, too
_HOSTS = re.compile(r"[A-Za-z0-9._-]+(?:-\[[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*\])?")
_NODES = re.compile(r"[A-Za-z0-9._,\[\]-]+")


class Noted(NamedTuple):
    """By component. `hosts` are empty in the note of a job from before they were noted."""

    hosts: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def note(classes: Iterable[tuple[str, Sequence[str]]], nodes: Sequence[str]) -> str:
    """`classes`: the name of each, and those of its hosts; `nodes`: words of the shell for those of each component.

    >>> note([("fast", ["fast-1", "fast-2", "fast-4"]), ("slow", ["slow"])], ["$A", "$B"])
    'motley:fast-[1-2,4];slow:$A;$B'
    """
    hosts = ";".join(_together(name, of) for name, of in classes)
    return f"{MARK}{hosts if len(hosts) <= MOST else ''}:{';'.join(nodes)}"


def noted(comment: str) -> Noted:
    hosts, nodes = "", comment
    if comment.startswith(MARK):
        hosts, _, nodes = comment.removeprefix(MARK).partition(":")
    of, on = tuple(hosts.split(";")), tuple(nodes.split(";"))
    return Noted(
        of if all(_HOSTS.fullmatch(one) for one in of) else (), on if all(_NODES.fullmatch(one) for one in on) else ()
    )


def hosts_of(hosts: Sequence[str], known: Collection[str]) -> list[list[str]]:
    """The hosts of each component by their names, of those that are `known`. Raises ValueError for others, and for one
    that is there twice.

    >>> hosts_of(["fast-[1-2]"], ["fast-1", "fast-2", "slow"])
    [['fast-1', 'fast-2']]
    """
    found: list[list[str]] = []
    for component in hosts:
        name, _, numbers = component.rstrip("]").partition("-[")
        names = [component]
        if numbers:
            ranges = [
                (int(low), int(high or low)) for low, _, high in (one.partition("-") for one in numbers.split(","))
            ]
            names = [one for one in known if any(low <= _number(one, name) <= high for low, high in ranges)]
            if not names or len(names) != sum(high - low + 1 for low, high in ranges):
                names = [component]
        if not set(names) <= set(known).difference(*found):
            raise ValueError(f"the hosts {', '.join(hosts)}")
        found.append(names)
    return found


def _together(name: str, hosts: Sequence[str]) -> str:
    """Slurm writes nodes alike: those of a class have its name and a number each."""
    if list(hosts) == [name]:
        return name
    ranges: list[list[int]] = []
    for number in (_number(host, name) for host in hosts):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return f"{name}-[{','.join(f'{low}-{high}' if low < high else str(low) for low, high in ranges)}]"


def _number(host: str, of: str) -> int:
    """-1 of one that is not of this class."""
    head, _, number = host.rpartition("-")
    return int(number) if head == of and number.isdecimal() else -1
