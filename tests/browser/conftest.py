"""The console as a page, by the real textual-serve (`make test-libraries`), in a real browser (`make test-browser`)."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from motley.console.commands.serving.browser.page_server import PageServer

HERE = Path(__file__).parent
SCRIPTED = [sys.executable, str(HERE.parent / "console" / "scripted.py"), "--readonly"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser if "chromium" in item.path.stem else pytest.mark.libraries)


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[PageServer]:
    """Of consoles that tell a made-up run, and only watch it."""
    pytest.importorskip("textual_serve")
    from motley.console.commands.serving.browser.page_server import PageServer

    running = PageServer(SCRIPTED, "home-1")
    await running.start(0)
    yield running
    await running.stop()
