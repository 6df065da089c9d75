"""What comments, docstrings and pages call by a dotted name or a path is there, under that name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("console", "profiles", "remote", "trainer")
DOTTED = re.compile(rf"(?<![\w./-])(?:motley\.)?((?:{'|'.join(PACKAGES)})(?:\.[a-zA-Z_]\w*)+)(?![\w/]|\.\*)")
PATH = re.compile(rf"(?<![\w./-])(?:motley/)?((?:{'|'.join(PACKAGES)}|tests)/[\w/]+\.(?:py|md|json|txt|tcss))")
SUFFIXES = ("py", "toml", "md", "json", "tcss", "log", "txt", "svg")
TEXTS = [
    path
    for path in subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    if path.endswith((".py", ".md", ".toml", ".yml", ".yaml", "Makefile"))
    and not path.startswith(("CHANGELOG", "tests/"))
]


@cache
def nodes_of(module: Path) -> Sequence[ast.AST]:
    """Of the kinds that are asked for here."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Name, ast.Import, ast.ImportFrom, ast.Attribute)
    return [node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, kinds)]


@cache
def names_in(module: Path) -> frozenset[str]:
    """What is defined at the top of a module, or at the top of a class of it."""
    found: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return frozenset(found)


def exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if module.is_file():
            return all(name in names_in(module) for name in parts[count:])
    return False


def test_a_name_that_is_not_there_is_seen() -> None:
    assert exists("trainer.contract.wire.Sample")
    assert not exists("trainer.wire")
    assert not exists("trainer.contract.wire.Simple")


@pytest.mark.parametrize("path", [path for path in TEXTS if (ROOT / path).is_file()])
def test_what_a_text_names_is_there(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    dotted = {name for name in DOTTED.findall(text) if not name.endswith(tuple(f".{suffix}" for suffix in SUFFIXES))}
    assert [name for name in sorted(dotted) if not exists(name)] == []
    assert [name for name in sorted(set(PATH.findall(text))) if not (ROOT / name).exists()] == []


@cache
def known_in(module: Path) -> frozenset[str]:
    """What is defined in a module, or imported there."""
    nodes = nodes_of(module)
    aliases = [alias for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names]
    return names_in(module) | {(alias.asname or alias.name).partition(".")[0] for alias in aliases}


def imported(module: Path) -> dict[str, Path]:
    """Modules of ours that a file imports, by the name they have in it."""
    found = {}
    for node in nodes_of(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("motley."):
            folder = ROOT.joinpath(*str(node.module).split(".")[1:])
            for alias in node.names:
                if (path := folder / f"{alias.name}.py").is_file():
                    found[alias.asname or alias.name] = path
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_what_a_test_puts_in_the_place_of_something_is_there(path: Path) -> None:
    """As `loop.train_step = mine`: under an old name it would change nothing, and the test would prove nothing."""
    modules = imported(path)
    targets = [node for node in nodes_of(path) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    of_ours = [
        (node.value.id, node.attr) for node in targets if isinstance(node.value, ast.Name) and node.value.id in modules
    ]
    assert [(name, attr) for name, attr in of_ours if attr not in known_in(modules[name])] == []
