"""What every rank of a run executes in place of a task: a script, a module or a command of the user's own.

Standard library only. `trainer.rank.script_rank` starts it, `trainer.trials.script_process` tries it.

    >>> name_of(script="train.py"), name_of(module="src.main"), name_of(command=["accelerate", "launch", "a b.py"])
    ('train.py', 'python -m src.main', "accelerate launch 'a b.py'")
    >>> Script(path="train.py", args=("--lr", "0.1"), tree="f00", port=29500).argv("/usr/bin/python3", {})
    ['/usr/bin/python3', 'train.py', '--lr', '0.1']
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from motley.trainer.light_dataclass import light_dataclass


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One of `path`, `module` and `command` is given. It runs in the project, which is its working directory."""

    path: str = ""  # in the project, with / between its parts
    module: str = ""  # as after `python -m`
    command: tuple[str, ...] = ()  # a program, of the host or of the project, and its first arguments
    args: tuple[str, ...]
    tree: str  # the project is in ~/.motley/code/<tree> on every host
    port: int  # MASTER_PORT; the coordinator has another one
    resumed: str = ""  # a folder in the home of every host with the results of the run that this one goes on from

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Script:
        """Raises KeyError or TypeError when it is none."""
        command = tuple(table.get("command", ()))
        return cls(**{**table, "args": tuple(table["args"]), "command": command})

    @property
    def name(self) -> str:
        """For people."""
        return name_of(script=self.path, module=self.module, command=self.command)

    def argv(self, python: str, env: Mapping[str, str]) -> list[str]:
        """The words to start it with; `python` starts a script or a module, PATH of `env` has the command."""
        if self.command:
            program, *more = self.command
            return [_found(program, _path_of(env)) or program, *more, *self.args]
        return [python, *(["-m", self.module] if self.module else [self.path]), *self.args]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """`env`, in which a command is found that was installed beside this Python, as in an activated environment."""
        if not self.command:
            return dict(env)
        return {**env, "PATH": os.pathsep.join([os.path.dirname(sys.executable), _path_of(env)])}

    def missing(self, project: str, env: Mapping[str, str]) -> str:
        """Why its command can't be started in `project` with this environment; empty when it can."""
        return missing(self.command[0], project, _path_of(env)) if self.command else ""


def name_of(*, script: str | None = None, module: str | None = None, command: Sequence[str] = ()) -> str:
    """As people would type it, without further arguments; empty where none is given."""
    if script or module or not command:
        return script or (f"python -m {module}" if module else "")
    import shlex  # most runs are of no command

    return shlex.join(command)


def missing(program: str, project: str, path: str) -> str:
    """Why `program` can't be started in the folder `project`, with this PATH; empty when it can.

    >>> missing("no-such-program", "/", "/usr/bin:/bin")
    "there is no command 'no-such-program' in /usr/bin:/bin"
    """
    if "/" not in program:
        return "" if _found(program, path) else f"there is no command {program!r} in {path}"
    place = os.path.join(project, program)
    if not os.path.isfile(place):
        return f"there is no file {program!r} in the project"
    return "" if _is_program(place) else f"{program!r} can't be executed: chmod +x mends it"


def _found(program: str, path: str) -> str:
    """Where it is by this PATH; empty when nowhere, and for a path of its own. (`shutil` takes long to import.)"""
    places = (os.path.join(folder or ".", program) for folder in path.split(os.pathsep))
    return "" if "/" in program else next(filter(_is_program, places), "")


def _is_program(place: str) -> bool:
    return os.path.isfile(place) and os.access(place, os.X_OK)


def _path_of(env: Mapping[str, str]) -> str:
    return env.get("PATH", os.defpath)
