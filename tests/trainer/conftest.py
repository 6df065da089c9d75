"""What the tests of `trainer` share: our code as a host has it."""

from __future__ import annotations

import compileall
import py_compile
from pathlib import Path

import pytest

from tests.remote.stage import stand_in_tree


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, with the stand-in for its ranks, as it is after a first run: compiled.

    What is compiled knows its source by a hash of it, so a copy may be changed.
    """
    root = tmp_path_factory.mktemp("pushed")
    stand_in_tree(root)
    by_hash = py_compile.PycInvalidationMode.CHECKED_HASH
    assert compileall.compile_dir(root, quiet=1, invalidation_mode=by_hash)
    return root
