"""The console as a page, by the real textual-serve (`make test-libraries`), in a real browser (`make test-browser`)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.absent import not_here
from tests.support.chromium import NAMES, PROGRAM

if TYPE_CHECKING:
    from motley.console.commands.serving.browser.page_server import PageServer

HERE = Path(__file__).parent
SCRIPTED = [sys.executable, str(HERE.parent / "console" / "scripted.py"), "--readonly"]


@pytest.fixture(autouse=True)
def _what_it_takes(request: pytest.FixtureRequest) -> None:
    if importlib.util.find_spec("textual_serve") is None:
        log = Path(sys.prefix, "pip.log")
        if log.exists() and "No matching distribution" in log.read_text():
            pytest.skip("a library has no wheel for this Python")
        not_here("no textual-serve here: `make libraries` installs it")
    if request.node.get_closest_marker("browser") is not None and PROGRAM is None:
        not_here(f"no Chromium here ({', '.join(NAMES)}): apt-get install chromium")


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[PageServer]:
    """Of consoles that tell a made-up run, and only watch it."""
    from motley.console.commands.serving.browser.page_server import PageServer

    running = PageServer(SCRIPTED, "home-1")
    await running.start(0)
    yield running
    await running.stop()
