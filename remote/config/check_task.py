"""What cluster.toml says of a task with parameters: which keys go together, and the parameters in `[task]`.

`remote.config.load` asks when it checks the file; the files themselves are looked at by `remote.provision.project`.
What a parameter of the user's own task means, the task itself says on the hosts: here it is only kept to what reaches
them as it was written. Those of `causal_lm` are known, and checked here.

    >>> read_parameters({"task": {"width": 3}}, problems)
    {'width': 3}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.check_script import RUN_PROGRAMS
from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems, host_names
from motley.remote.config.schema import MAX_INT, shown
from motley.remote.config.toml_lines import KeyPath
from motley.trainer.contract.spec import RunOptions
from motley.trainer.contract.task_name import INCLUDED, BuiltIn, Included, parse
from motley.trainer.devices.names import cards_of
from motley.trainer.llm import options as language_model

MAX_DEPTH = 16  # of tables and lists in each other


def read_parameters(table: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """`[task]` as it stands there; what is wrong with it goes to `problems`."""
    section = table.get("task", {})
    if not isinstance(section, dict):
        problems.add(("task",), "must be a table, which begins with [task]; the task itself is named in [run]")
        return {}
    for path, text in _wrong(section, ("task",)):
        problems.add(path, text)
    return section


def check_task(run: RunOptions, table: Mapping[str, Any], problems: Problems, *, own_policy: bool = False) -> None:
    """Everything about `[run] task`, and about what is for a task of the user's own, that the file alone can tell.
    `own_policy`: `[balance] policy` is the user's own, which has a project too."""
    section = table.get("run")
    given = section if isinstance(section, dict) else {}
    if run.program is not None:
        _for_own_tasks(table, problems)
        return
    try:
        named = parse(run.task)
    except ValueError as error:
        problems.add(("run", "task"), str(error))
        return
    if isinstance(named, Included):
        _check_included(run, table, problems)
    if not isinstance(named, (BuiltIn, Included)):
        for key, path in (("task", named.file or None), ("project", run.project)):
            problem = None if path is None else value_rules.path_problem(path)
            if problem:
                problems.add(("run", key), f"{shown(path)} {problem}")
    elif not problems.touches(("run", "task"), *RUN_PROGRAMS):
        if "project" in given and not own_policy:
            text = 'is for a script or a task of your own; name one, such as script = "train.py" or task = "night.py"'
            problems.add(("run", "project"), text)
        if isinstance(named, BuiltIn):
            _for_own_tasks(table, problems)


def _check_included(run: RunOptions, table: Mapping[str, Any], problems: Problems) -> None:
    """The parameters of a task that comes with Motley, and the options that do nothing for it."""
    section = table.get("task", {})
    if isinstance(section, dict) and not problems.touches(("task",)):
        for key, text in language_model.problems(section):
            problems.add(("task", key) if key in section else ("task",), text)
    if run.compile and not run.activation_checkpointing:
        text = f"for {run.task} needs activation_checkpointing = true too: the model's layers are what is compiled"
        problems.add(("run", "compile"), text)


def check_cards(cluster: Cluster, table: Mapping[str, Any], problems: Problems) -> None:
    """Several cards of one rank, as far as the file tells: a task of the user's own says it on the hosts."""
    several = [
        host for host in cluster.hosts if host.devices != "auto" and any(len(cards_of(d)) > 1 for d in host.devices)
    ]
    if not several or problems.touches(("run", "task"), ("hosts",), ("defaults",), *RUN_PROGRAMS):
        return
    run, host = cluster.run, several[0]
    of = host.slurm.of if host.slurm is not None else host.name
    entry = host_names(table).index(of)
    own = "devices" in table["hosts"][entry]
    path: KeyPath = ("hosts", entry, "devices") if own else ("defaults", "devices")
    cards = next(device for device in host.devices if len(cards_of(device)) > 1)
    flat = ", ".join(f'"{card}"' for card in cards_of(cards))
    text = f"has several cards for one rank ({cards}), and"
    if run.program is not None:
        problems.add(path, f"{text} each rank of a script has one; write {flat} without the list in the list")
    elif isinstance(parse(run.task), BuiltIn):
        problems.add(
            path, f"{text} {run.task} trains on one card by each rank; write {flat} without the list in the list"
        )
    elif run.compile:
        problems.add(
            ("run", "compile"), f"is not for several cards of one rank ({cards}), as {host.name} has; leave it out"
        )


def _for_own_tasks(table: Mapping[str, Any], problems: Problems) -> None:
    if "task" in table and not problems.touches(("run", "task")):
        names = f'a task of your own, which [run] names, such as task = "night.py", or for {", ".join(INCLUDED)}'
        problems.add(("task",), f"is for {names}")


def _wrong(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if len(path) > MAX_DEPTH:
        yield path, f"is nested too deeply; {MAX_DEPTH} tables and lists in each other are the most"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _wrong(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _wrong(inner, (*path, number))
    elif isinstance(value, int) and abs(value) > MAX_INT:
        yield path, f"is too large; whole numbers end at {MAX_INT}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"must be a number, is {value}"
    elif not isinstance(value, (str, int, float)):
        yield path, f'is a date or time, which no parameter can be; write it in quotes: "{value}"'
