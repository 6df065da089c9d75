"""Which options of `motley export` go together: those for weights of a run, and those for an engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from motley.remote.errors import UsageError


def of_engine(engine: str, *, best: bool, merge: bool, json: bool) -> None:
    """Raises UsageError for an option that is for weights."""
    given = [name for name, said in (("--best", best), ("--merge", merge), ("--json", json)) if said]
    if given:
        raise UsageError(f"{given[0]} is for the weights of a run; `motley export {engine}` writes a run that is to be")


def of_weights(
    file: Path | None,
    *,
    kind: str | None,
    name: str | None,
    overrides: Sequence[str] | None,
    only: Sequence[str] | None,
) -> Path:
    """The file. Raises UsageError when it is missing, and for an option that is for an engine."""
    options = (("--kind", kind), ("--name", name), ("--set", overrides), ("--only", only))
    given = [option for option, said in options if said]
    if given:
        raise UsageError(f"{given[0]} is for `motley export kubernetes`; the weights of a run are what they are")
    if file is None:
        raise UsageError("name the file to write: motley export RUN FILE, such as night.safetensors")
    return file
