"""What `[run] task` names: a model and a data set that come with Motley, a task with parameters that comes with it, or
a class of the user's own.

Standard library only, so the master can ask too. Which file that class is in on a host, `OwnTask` says.

    >>> parse("simple_cnn/digits")
    BuiltIn(model='simple_cnn', dataset='digits')
    >>> parse("causal_lm").name
    'CausalLM'
    >>> parse("night.py")
    Named(file='night.py', module='', name='')
    >>> parse("vision.night:Night")
    Named(file='', module='vision.night', name='Night')
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, NamedTuple

from motley.trainer.light_dataclass import light_dataclass

MODELS = ("simple_cnn", "mlp", "resnet18", "resnet50")
DATASETS = ("digits", "fashion_mnist", "cifar10", "cifar100", "synthetic_image", "image_folder")
IMAGE_FOLDER = "image_folder"  # pictures of the user's own
CAUSAL_LM = "causal_lm"  # language models: `trainer.llm`


class BuiltIn(NamedTuple):
    """Any model goes with any data set."""

    model: str
    dataset: str


class Named(NamedTuple):
    """A class of the user's own: in a file, or in a module that is to be imported. Without a name it is the only task
    that the file defines."""

    file: str
    module: str
    name: str


class Included(NamedTuple):
    """A class that comes with Motley and has its parameters in `[task]`, as one of the user's own has."""

    module: str
    name: str
    run: dict[str, Any]  # defaults of `[run]` that go with it, in place of those of all tasks


INCLUDED = {
    "causal_lm": Included(
        "motley.trainer.llm.causal_lm",
        "CausalLM",
        {
            "learning_rate": 2e-4,
            "optimizer": "adamw",
            "epochs": 3,
            "global_batch": 24,
            "accumulate": 8,
            "eval_on_start": True,
        },
    )
}


@light_dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask:
    """A class of the user's own, or an `Included` one, as a host finds it: `trainer.tasks.own_task` loads it."""

    tree: str  # the project is in ~/.motley/code/<tree> on every host; empty: the class comes with Motley
    file: str = ""  # in the project, with / between its parts; or
    module: str = ""  # importable from the project
    name: str = ""  # of the class; empty: the only one in the file
    parameters: dict[str, Any] = field(default_factory=dict)  # [task] of cluster.toml


def included(task: str) -> Included | None:
    """What `task` names, where it is one of `INCLUDED`."""
    return INCLUDED.get(task)


def parse(task: str) -> BuiltIn | Included | Named:
    """Raises ValueError that says what there is, which name is nearest, or of which form it has to be."""
    if (found := included(task)) is not None:
        return found
    path, colon, name = task.partition(":")
    if colon and not name.isidentifier():
        raise ValueError(f"task {task!r}: {name!r} is no name of a class")
    if path.endswith(".py"):
        return Named(path, "", name)
    if colon:
        if not all(part.isidentifier() for part in path.split(".")):
            raise ValueError(f"task {task!r}: {path!r} is no module; a file ends in .py, a module is package.module")
        return Named("", path, name)
    model, slash, data = task.partition("/")
    if not slash:
        known = f"models: {', '.join(MODELS)}; data sets: {', '.join(DATASETS)}"
        raise ValueError(
            f"task {task!r} is neither of the form model/dataset, for example {MODELS[0]}/{DATASETS[0]} ({known}), "
            f"nor {', '.join(INCLUDED)}, nor a task of your own: a file such as night.py, or package.module:Name"
        )
    for what, given, names in (("model", model, MODELS), ("data set", data, DATASETS)):
        if given not in names:
            import difflib  # where nothing is wrong it is not needed

            near = difflib.get_close_matches(given, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task {task!r}: no {what} {given!r} (there are {', '.join(names)}){hint}")
    return BuiltIn(model, data)
