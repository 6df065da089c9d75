"""What `[balance] policy` names: a policy that comes with Motley, or a function of the user's own. Standard library.

>>> parse("dynamic") is None
True
>>> parse("mine.py")
Named(file='mine.py', module='', name='')
>>> problem("dinamic")
"is neither dynamic, proportional or static (did you mean 'dynamic'?) nor ..."
"""

from __future__ import annotations

from motley.trainer.contract.task_name import Named
from motley.trainer.light_dataclass import light_dataclass

BUILT_IN = ("dynamic", "proportional", "static")
FUNCTION = "shares"  # what is looked for in a file that names no other


@light_dataclass(frozen=True, slots=True, kw_only=True)
class OwnPolicy:
    """A policy of the user's own as a host finds it: `trainer.balance.own_policy` loads it."""

    tree: str  # the project is in ~/.motley/code/<tree> on every host
    file: str = ""  # in the project, with / between its parts; or
    module: str = ""  # importable from the project
    name: str = FUNCTION  # of the function


def parse(policy: str) -> Named | None:
    """The function that it names; None for a policy that comes with Motley. A name that has a `problem` is none."""
    path, colon, name = policy.partition(":")
    if policy in BUILT_IN or problem(policy):
        return None
    return Named(path, "", name) if path.endswith(".py") or not colon else Named("", path, name)


def problem(policy: str) -> str | None:
    """What is wrong with the name; None when nothing is."""
    path, colon, name = policy.partition(":")
    if policy in BUILT_IN:
        return None
    if colon and not name.isidentifier():
        return f"has {name!r} behind the colon, which is no name of a function"
    if path.endswith(".py"):
        return None
    if colon:
        parts = path.split(".")
        return None if all(map(str.isidentifier, parts)) else f"has {path!r} before the colon, which is no module"
    import difflib  # where nothing is wrong it is not needed

    near = difflib.get_close_matches(policy, BUILT_IN, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"is neither {', '.join(BUILT_IN[:-1])} or {BUILT_IN[-1]}{hint} nor a policy of your own: "
        "a file such as mine.py, or package.module:name"
    )
