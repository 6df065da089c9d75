"""What each member of a run executes: a rank of a task, or the process that starts the user's own script.

The supervisor asks here and nowhere else; the end of either means the same (`trainer.exits`).

    >>> command(spec, member, anew=False)
    ['rank', '--member', '2']
"""

from __future__ import annotations

from pathlib import Path

from trainer import processes
from trainer.spec import Member, Spec


def command(spec: Spec, member: Member, *, anew: bool) -> list[str]:
    """The verb of `python -m trainer`. `anew`: the run goes on already; a script gets to know that by itself."""
    if spec.script is not None:
        return ["script", "--member", str(member.member)]
    return ["rank", "--member", str(member.member), *(["--anew"] if anew else [])]


def training(spec: Spec, folder: Path, member: Member, pid: int) -> list[int]:
    """Of the member whose process is `pid`: the processes that train, for the emulation of a slower host.

    A rank of a task is one once it has completed a step; a script from its start on.
    """
    if spec.script is not None:
        return processes.children(pid)
    try:
        trains = (folder / f"rank_{member.member}.jsonl").stat().st_size > 0
    except FileNotFoundError:
        trains = False
    return [pid] if trains else []
