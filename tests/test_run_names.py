"""A run may be called "first": in a sentence its name stands in quotes, in a command to paste as a shell needs it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"(\w+\.)*_?run")
ON_A_HOST = ("trainer",)  # where a command to paste is written out: names were checked before they came there
COMMAND = re.compile(r"motley \w+ $|--resume $")


def named() -> Iterator[tuple[str, str, str]]:
    """Where the name of a run stands in a text, what is before it, and what comes after."""
    for path in sorted(p for room in ("trainer", "remote", "console") for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            for i, part in enumerate(node.values):
                if isinstance(part, ast.FormattedValue) and NAME.fullmatch(ast.unparse(part.value)):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(parts[:i]), "".join(parts[i + 1 :])


def is_sentence(before: str, after: str) -> bool:
    """No path, no name of a checkpoint, no label that a colon or the state ends, as `night: …` and `night finished`."""
    return not (before.endswith("/") or after.startswith(("/", "@")) or re.match(r"(: | \{\})", after))


def is_quoted(place: str, before: str, after: str) -> bool:
    command = place.startswith(ON_A_HOST) and COMMAND.search(before)
    return bool(command) or (before.endswith("'") and after.startswith("'"))


def test_the_name_of_a_run_is_quoted_in_every_sentence_and_command() -> None:
    found = [where for where in named() if is_sentence(*where[1:])]
    assert len(found) > 30
    assert [where for where in found if not is_quoted(*where)] == []
