from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an experiment that does not exist yet."""
    return tmp_path / "experiments" / "night"
