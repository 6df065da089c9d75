"""Pages of `motley report --html` and `motley compare --html` in a browser that reaches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.console.report.comparison import compare
from motley.console.report.comparison_view import comparison_page
from motley.console.report.html_page.report_page import report_page
from motley.console.report.read_report import read
from tests.console.report.test_read_report import trained
from tests.support.chromium import Page, chromium

WIDTHS = (400, 1600)
SCHEMES = {"light": (200, 256), "dark": (0, 60)}  # how bright the paper is, of 255
LEAST_PX = 12
SMALLEST = (  # of what is shown; in a drawing no text is, which would shrink with it
    "Math.min(...[...document.querySelectorAll('body *')]"
    ".filter(one => !one.closest('svg') && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))"
    ".map(one => parseFloat(getComputedStyle(one).fontSize)))"
)
BRIGHTNESS = (
    "(rgb => rgb.map(Number).reduce((a, b) => a + b) / 3)("
    "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3))"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    night, day = (read(trained(folder / name)) for name in ("night", "day"))
    written = {"report": report_page(night), "comparison": comparison_page(compare([night, day]))}
    for name, text in written.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in written}


async def is_readable(page: Page, file: Path, scheme: str, width: int) -> None:
    await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await page.resize(width, 900)
    await page.open(file.as_uri())
    assert await page.ask("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
    assert await page.ask(SMALLEST) >= LEAST_PX
    least, below = SCHEMES[scheme]
    assert least <= await page.ask(BRIGHTNESS) < below
    assert await page.ask("document.querySelectorAll('svg path').length") > 0
    assert await page.ask("document.querySelectorAll('svg text').length") == 0


@pytest.mark.parametrize("name", ["report", "comparison"])
async def test_a_page_asks_nobody_for_anything_and_is_readable(
    name: str, pages: dict[str, Path], tmp_path: Path
) -> None:
    """At the width of a phone and of a desk, in light and in dark."""
    async with chromium(tmp_path, size=(1600, 900), offline=True) as page:
        for scheme in SCHEMES:
            for width in WIDTHS:
                await is_readable(page, pages[name], scheme, width)
                (tmp_path / f"{name}-{scheme}-{width}.png").write_bytes(await page.picture())
        asked = {address for address in page.requests if not address.startswith(("data:", "about:"))}
        assert asked == {pages[name].as_uri()}
        assert page.errors == []
