"""The table of events in `trainer.contract.wire` names all kinds that are written, and what stands in their data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.trainer.contract import wire

ROOT = Path(__file__).parents[3]


def written() -> Iterator[tuple[str, set[str], bool]]:
    """The kind, the names in its data, and whether it has more of them that can't be read off, of each place."""
    for path in sorted([*(ROOT / "trainer").rglob("*.py"), *(ROOT / "remote").rglob("*.py")]):
        said = path.read_text()
        if "journal.write" not in said and "kind=" not in said:
            continue
        for node in ast.walk(ast.parse(said)):
            if not isinstance(node, ast.Call):
                continue
            names = {keyword.arg for keyword in node.keywords}
            if not isinstance(node.func, ast.Attribute) and "kind" not in names:
                continue
            called = ast.unparse(node.func)
            if called.endswith("journal.write"):
                kind = node.args[0]
                assert isinstance(kind, ast.Constant), f"{path}:{node.lineno}: no kind to be read off"
                yield str(kind.value), {name for name in names if name}, None in names
            for keyword in node.keywords:
                if keyword.arg == "kind" and isinstance(keyword.value, ast.Constant) and "note" in called.lower():
                    yield str(keyword.value.value), set(), False


def table() -> dict[str, str]:
    rows: dict[str, str] = {}
    kind = ""
    for first, data in re.findall(r"^ *\| (\w*) ?\|? ?(.+?)(?: \||$)", wire.Event.__doc__ or "", re.MULTILINE):
        kind = first or kind
        rows[kind] = f"{rows.get(kind, '')} {data}".strip()
    return {kind: data for kind, data in rows.items() if kind != "kind"}


ROWS, WRITTEN = table(), list(written())


def test_it_has_the_kinds_that_are_written_and_no_others() -> None:
    assert len(WRITTEN) > 40
    assert set(ROWS) == {kind for kind, _, _ in WRITTEN}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_has_what_is_written_and_nothing_else(kind: str) -> None:
    names = set[str]().union(*(names for of, names, _ in WRITTEN if of == kind))
    assert {name for name in names if not re.search(rf"\b{name}\b", ROWS[kind])} == set()
    if not any(more for of, _, more in WRITTEN if of == kind):
        bare = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", ROWS[kind])
        said = {part.split(":")[0].strip() for part in re.split("[,;]", bare)}
        assert {name for name in said if name.isidentifier()} - names == set()
