"""Tests with the libraries that people's scripts are written with: `make libraries` installs them, in one place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.remote.conftest import stage, stand_in, stand_in_held
from tests.support.absent import not_here

__all__ = ["stage", "stand_in", "stand_in_held"]
LIBRARIES = ("accelerate", "lightning", "tensorboard", "tqdm", "transformers")
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"))  # peft asks the old way


@pytest.fixture(autouse=True)
def _libraries() -> None:
    log = Path(sys.prefix, "pip.log")
    if log.exists() and "No matching distribution" in log.read_text():
        pytest.skip("a library has no wheel for this Python")
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        not_here(f"no {', '.join(missing)} here: `make test-libraries` installs and tests them")
