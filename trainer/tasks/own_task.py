"""A task of the user's own: its class found in a file or a module of the project, its parameters checked, one made.

A class that comes with Motley and has parameters (`task_name.Included`) is made in the same way: it has no project.

    >>> load_own(OwnTask(tree="8f5a…", file="night.py", parameters={"width": 64}), "night.py")
    <night.Night object>

Whatever the user's code raises comes as a TaskError that names its file and line.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.contract.task_parameters import Misfit, options_of
from motley.trainer.errors import TaskError
from motley.trainer.host.paths import project_folder
from motley.trainer.tasks.download import Note
from motley.trainer.tasks.included_task import IncludedTask
from motley.trainer.tasks.task import Task, spreads
from motley.trainer.tasks.user_code import user_code


def load_own(
    own: OwnTask,
    name: str,
    data_path: str | None = None,
    *,
    run: RunOptions | None = None,
    device: torch.device | None = None,
    beside: Sequence[torch.device] = (),
    note: Note = lambda _text, _fraction: None,
) -> Task:
    """`name`: as cluster.toml has it; `data_path`: where its data is on this host; the rest is for an `IncludedTask`.
    `device`: that it is trained on; None: it is only asked about. `beside`: further cards of the same rank.

    The project is what Python finds first from now on, and the current folder.

    Raises TaskError for a file that can't be imported, a class that is not there, a parameter that does not fit.
    """
    folder = project_folder(own.tree) if own.tree else None
    if folder is not None:
        sys.path.insert(0, str((folder / own.file).parent if own.file else folder))
        os.chdir(folder)
    module = own.module or Path(own.file).stem
    with user_code(folder):
        found = importlib.import_module(module)
    if folder is not None and own.file and Path(str(found.__file__)) != folder / own.file:
        raise TaskError(f"{name}: Python has another module {module} already", "Give the file another name")
    cls = _class(found, own.name, name)
    options = _options(cls, own.parameters, name)
    with user_code(folder):
        task = cls(options)
    task.name, task.project = name, folder
    if beside and not spreads(task):
        raise on_one_card_alone(name)
    task.data_path = Path(data_path).expanduser() if data_path else None
    if isinstance(task, IncludedTask):
        task.run, task.device, task.beside, task.note = run or task.run, device or task.device, tuple(beside), note
        if device is not None:
            task.begin()
    return task


def on_one_card_alone(name: str) -> TaskError:
    """For a host that names several cards in one."""
    cause = f"{name} is trained on one card by each rank: it does not say how it goes onto several"
    return TaskError(
        cause, "Name each card by itself in devices, without a list in the list; or give it a spread method"
    )


def _class(module: ModuleType, wanted: str, name: str) -> type[Task]:
    there = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module.__name__
    }
    file = Path(str(module.__file__)).name
    if wanted:
        if wanted in there:
            return there[wanted]
        near = difflib.get_close_matches(wanted, there, n=1)
        other = vars(module).get(wanted)
        if inspect.isclass(other):
            raise TaskError(f"{file}: {wanted} does not derive from motley.Task", f"class {wanted}(motley.Task): …")
        hint = f"Did you mean {near[0]}?" if near else f"There {_listed(there)}"
        raise TaskError(f"{file} has no class {wanted}", hint)
    if len(there) != 1:
        remedy = f'Name one of them: task = "{name}:{next(iter(there))}"' if there else "class Night(motley.Task): …"
        raise TaskError(f"{file} has {_number(there)} that derive from motley.Task, one is needed", remedy)
    return next(iter(there.values()))


def _listed(there: Mapping[str, Any]) -> str:
    return f"are {', '.join(there)}" if there else "is no class in it that derives from motley.Task"


def _number(there: Mapping[str, Any]) -> str:
    return f"{len(there)} classes ({', '.join(there)})" if there else "no classes"


def _options(cls: type[Task], parameters: dict[str, Any], name: str) -> Any:
    """The dataclass `Options` made of `[task]`, or the table as it is."""
    if cls.Options is None:
        return parameters
    if not dataclasses.is_dataclass(cls.Options):
        raise TaskError(f"{name}: {cls.__name__}.Options is no dataclass", "Put @dataclass above it")
    try:
        return options_of(cls.Options, parameters, f"{cls.__name__}.Options")
    except Misfit as error:
        raise TaskError(error.cause, error.remedy) from error
