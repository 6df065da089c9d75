"""What kinds of GPUs there are stands in one room, `trainer/devices`: nobody else names `cuda`, or goes by torch's
module of that name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_layout import FILES, PACKAGES, ROOT

ROOM = "trainer/devices"
WORD = "cuda"


def said(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each name, and of each string that is no docstring, with the word in it; comments may say it."""
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and (id(node) in docstrings or not isinstance(node.value, str)):
            continue
        words = [getattr(node, name, None) for name in ("id", "attr", "arg", "name", "asname", "module", "value")]
        for word in words:
            if isinstance(word, str) and WORD in word.lower():
                yield getattr(node, "lineno", 0), word


PLACES = {path.relative_to(ROOT).as_posix(): path for path in FILES if path.relative_to(ROOT).parts[0] in PACKAGES}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_only_the_room_of_devices_names_it(place: str) -> None:
    if not place.startswith(f"{ROOM}/"):
        assert list(said(PLACES[place].read_text(encoding="utf-8"))) == []


def test_it_is_found_wherever_it_stands() -> None:
    lines = [
        '"""cuda:0 in a docstring."""',
        "import torch.cuda",
        "from torch.cuda import Event",
        "def cuda_of(cuda):",
        '    """CUDA."""',
        '    return f"{device}: CUDA" if device.type == "cuda" else torch.cuda',
        "# cuda",
        "use(on_cuda=2)",
    ]
    assert sorted(line for line, _ in said("\n".join(lines))) == [2, 3, 4, 4, 6, 6, 6, 8]
