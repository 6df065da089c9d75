"""The console as a page, as whoever sits at the browser meets it. Its run is made up."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support.chromium import Page, chromium

if TYPE_CHECKING:
    from motley.console.commands.serving.browser.page_server import PageServer

BACKGROUND = (16, 20, 24)  # of the page, and of the console's dark theme
READY = "document.body.classList.contains('-first-byte')"


async def at_the_console(page: Page, server: PageServer) -> None:
    """By the one-time address, to the first thing the console has drawn."""
    await page.open(server.guard.first_url)
    await page.until(READY)
    await page.until_drawn("home-1")


def processes(server: PageServer) -> list[int]:
    return [process._own.pid for process in server._consoles.values() if process._own is not None]


async def fills_the_window(page: Page) -> None:
    """No part of the terminal is beyond the edge, and less than a cell and a half is left over."""
    left_over = "innerWidth - document.querySelector('.xterm-screen')?.getBoundingClientRect().right"
    await page.until(f"(left => 0 <= left && left < 24)({left_over})")
    box = await page.ask(
        "(() => { const box = document.querySelector('.xterm-screen').getBoundingClientRect();"
        " return [box.left, box.top, innerWidth - box.right, innerHeight - box.bottom,"
        " document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight] })()"
    )
    left, top, right, bottom, across, down = box
    assert (left, top) == (0, 0)
    assert 0 <= right < 24, box
    assert 0 <= bottom < 36, box
    assert (across, down) == (0, 0), box


async def test_the_first_key_reaches_the_console_without_a_click(server: PageServer, tmp_path: Path) -> None:
    async with chromium(tmp_path, size=(1200, 700)) as page:
        await at_the_console(page, server)
        page.drawn = ""
        await page.press("x")
        await page.until_drawn("this console only watches")
        page.drawn = ""
        await page.press("?")
        await page.until_drawn("ctrl+q")  # the help: what each key does
        page.drawn = ""
        await page.press("Escape")
        await page.until_drawn("home-1")
        assert page.errors == []


async def test_a_reload_is_another_console_of_the_same_run(server: PageServer, tmp_path: Path) -> None:
    async with chromium(tmp_path, size=(1000, 600)) as page:
        await at_the_console(page, server)
        (first,) = processes(server)
        page.drawn = ""
        await page.call("Page.reload")
        await page.until_drawn("home-1")
        await page.until(READY)
        address = f"http://{server.guard.names[0]}/"
        assert await page.ask("location.href") == address
        assert await page.ask("document.title") == "home-1 (motley)"
        assert first not in processes(server)
        assert len(processes(server)) == 1
        own = ("data:", address, address.replace("http", "ws"))
        assert [one for one in page.requests if not one.startswith(own)] == []
        assert page.errors == []
        cookies = (await page.call("Network.getAllCookies"))["cookies"]
        assert [(one["httpOnly"], one["sameSite"], one["session"]) for one in cookies] == [(True, "Strict", True)]
        assert await page.ask("document.cookie") == ""


@pytest.mark.parametrize("size", [(800, 500), (1600, 900)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_console_fills_the_window_and_follows_it(
    server: PageServer, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with chromium(tmp_path, size=size) as page:
        await at_the_console(page, server)
        await fills_the_window(page)
        assert await page.ask("document.fonts.check('16px \"Roboto Mono\"')")
        await page.resize(1200, 640)
        await fills_the_window(page)
        page.drawn = ""
        await page.until_drawn("desktop")
        seen = Image.open(BytesIO(await page.picture())).convert("RGB")
        assert seen.size == (1200, 640)
        assert len(seen.getcolors(1 << 20) or []) > 100  # text and curves, not a blank screen
        assert page.errors == []


async def test_another_page_can_neither_read_nor_type(server: PageServer, tmp_path: Path) -> None:
    """Even in the browser that has the cookie: a page of another origin, which knows the address."""
    (tmp_path / "other.html").write_text("<!DOCTYPE html><title>other</title>")
    async with chromium(tmp_path, size=(1000, 600)) as page:
        await at_the_console(page, server)
        address = server.guard.names[0]
        await page.open((tmp_path / "other.html").as_uri())
        opened = (
            "new Promise(done => {{ const line = new WebSocket('ws://{}/ws/0123456789abcdef');"
            " line.onopen = () => done('open'); line.onerror = () => done('refused') }})"
        )
        assert await page.ask(opened.format(address)) == "refused"
        read = "fetch('http://{}/', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
        assert await page.ask(read.format(address)) == "refused"
        framed = (
            "new Promise(done => {{ const frame = document.createElement('iframe'); frame.src = 'http://{}/';"
            " frame.onload = () => done(frame.contentDocument === null); document.body.append(frame) }})"
        )
        await page.ask(framed.format(address))
        assert [one for one in page.errors if "frame-ancestors" in one or "X-Frame-Options" in one], page.errors
        assert "0123456789abcdef" not in server._consoles


async def test_a_console_that_has_ended_says_so_and_opens_again(server: PageServer, tmp_path: Path) -> None:
    async with chromium(tmp_path, size=(1000, 600)) as page:
        await at_the_console(page, server)
        await page.press("q")
        await page.until("document.body.classList.contains('-closed')")
        await page.until("document.activeElement === document.querySelector('#again')")
        assert await page.ask("document.querySelector('#said').innerText")
        page.drawn = ""
        await page.ask("document.querySelector('#again').click()")
        await page.until_drawn("home-1")
        await page.until(READY)
        await server.stop()
        await page.until("document.body.classList.contains('-closed')")
        said = "document.querySelector('#said').innerText"
        await page.until(f"/^motley serve (has ended|does not answer)/.test({said})")
