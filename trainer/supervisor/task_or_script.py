"""What each member of a run executes: a rank of a task, or the process that starts the user's own script.

The supervisor asks here and nowhere else; the end of either means the same (`trainer.host.exit_codes`).

    >>> command(spec, member, anew=False)
    ['rank', '--member', '2']
"""

from __future__ import annotations

from motley.trainer.contract.spec import Member, Spec


def command(spec: Spec, member: Member, *, anew: bool) -> list[str]:
    """The verb of `python -m motley.trainer`. `anew`: the run goes on already; a script gets to know that by itself."""
    if spec.script is not None:
        return ["script", "--member", str(member.member)]
    return ["rank", "--member", str(member.member), *(["--anew"] if anew else [])]


def duty(spec: Spec) -> float:
    """The part of the time that the processes of a script run, on an emulated host; ranks of a task slow themselves."""
    return spec.speed or 1.0 if spec.script is not None else 1.0
