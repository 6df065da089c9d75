"""`motley serve`'s page over raw sockets: who gets in, what is served, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from motley.console.commands.serving.browser import strangers

if TYPE_CHECKING:
    from motley.console.commands.serving.browser.page_server import PageServer

WAIT_S = 60.0
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + "A" * 22 + "==",
)


def host(server: PageServer) -> str:
    return server.guard.names[0]


def own(server: PageServer) -> tuple[str, ...]:
    """What the right browser says."""
    return (f"Host: {host(server)}", f"Cookie: {server.guard.cookie_name}={server.guard.cookie}")


def socket_of(server: PageServer) -> tuple[str, ...]:
    return (*own(server), f"Origin: http://{host(server)}", *UPGRADE)


def new_socket() -> str:
    return f"GET /ws/{secrets.token_hex(8)}?width=100&height=30 HTTP/1.1"


async def opened(server: PageServer, *lines: str) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """Head of the answer, and the connection."""
    port = int(host(server).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)).decode(), reader, writer


async def head(server: PageServer, *lines: str) -> str:
    answer, _, writer = await opened(server, *lines)
    writer.close()
    await writer.wait_closed()
    return answer


def status(answer: str) -> int:
    return int(answer.split()[1])


async def test_the_one_time_address_opens_the_page_once(server: PageServer) -> None:
    path = server.guard.first_url.partition(host(server))[2]
    said = f"Host: {host(server)}"
    answer = await head(server, f"GET {path} HTTP/1.1", said)
    assert status(answer) == 200
    (cookie,) = re.findall(r"^Set-Cookie: (.*)\r$", answer, re.MULTILINE)
    assert cookie.endswith("; HttpOnly; Path=/; SameSite=Strict")
    assert status(await head(server, f"GET {path} HTTP/1.1", said)) == 403
    assert status(await head(server, "GET / HTTP/1.1", said, f"Cookie: {cookie.partition(';')[0]}")) == 200
    assert status(await head(server, "GET / HTTP/1.1", said)) == 403


@pytest.mark.parametrize(
    "path",
    ["/", "/ws/0123456789abcdef", "/static/textual.js", "/static/page.css", "/ended/0123456789abcdef", "/nowhere"],
)
async def test_whatever_is_asked_for_a_stranger_is_refused(server: PageServer, path: str) -> None:
    right = own(server)
    strangers = {
        "no token, no cookie": right[:1],
        "a wrong cookie": (right[0], f"Cookie: {server.guard.cookie_name}={'A' * len(server.guard.cookie)}"),
        "a cookie of another port": (right[0], f"Cookie: motley_console_1={server.guard.cookie}"),
        "a foreign Host": (f"Host: evil.example:{host(server).rpartition(':')[2]}", right[1]),
        "a Host without its port": ("Host: 127.0.0.1", right[1]),
        "two Hosts": (right[0], right[0], right[1]),
        "a foreign Origin": (*right, "Origin: http://evil.example"),
        "an Origin on another port": (*right, "Origin: http://127.0.0.1:1"),
        "no page's Origin": (*right, "Origin: null"),
    }
    for who, lines in strangers.items():
        for method in ("GET", "HEAD", "POST"):
            extra = UPGRADE if path.startswith("/ws") else ()
            answer = await head(server, f"{method} {path} HTTP/1.1", *lines, *extra)
            assert status(answer) in ((400, 403) if who == "two Hosts" else (403,)), (who, method, answer)
    assert status(await head(server, f"POST {path} HTTP/1.1", *right)) == 403  # without an Origin
    wrong_token = await head(server, f"GET {path}?token=A HTTP/1.1", right[0])
    assert status(wrong_token) == 403
    assert not server._consoles


async def test_a_socket_needs_its_own_origin_even_with_the_cookie(server: PageServer) -> None:
    assert status(await head(server, new_socket(), *own(server), *UPGRADE)) == 403
    foreign = (*own(server), "Origin: http://evil.example", *UPGRADE)
    assert status(await head(server, new_socket(), *foreign)) == 403
    assert status(await head(server, new_socket(), *socket_of(server))) == 101


async def test_only_so_many_consoles_are_open_and_one_that_is_closed_makes_room(server: PageServer) -> None:
    from motley.console.commands.serving.browser.page_server import MOST_CONSOLES

    lines = [await opened(server, new_socket(), *socket_of(server)) for _ in range(MOST_CONSOLES)]
    assert [status(answer) for answer, _, _ in lines] == [101] * MOST_CONSOLES
    number = "0" * 16
    answer, reader, writer = await opened(server, f"GET /ws/{number} HTTP/1.1", *socket_of(server))
    assert status(answer) == 503
    assert b"consoles are open in browsers already: close one of them" in await reader.readline()
    writer.close()
    lines[0][2].close()
    await _until(lambda: len(server._open) < MOST_CONSOLES)
    assert status(await head(server, new_socket(), *socket_of(server))) == 101
    for _, _, writer in lines:
        writer.close()


async def test_all_that_the_page_loads_comes_from_here(server: PageServer) -> None:
    from motley.console.commands.serving.browser.page_server import FILES

    answer, reader, writer = await opened(server, "GET / HTTP/1.1", *own(server), "Connection: close")
    page = (await reader.read()).decode()
    writer.close()
    policy = re.findall(r"^Content-Security-Policy: (.*)\r$", answer, re.MULTILINE)[0]
    assert "default-src 'none'" in policy
    assert re.findall(r"(?:https?|wss?)://[^ ;]*", policy) == [f"ws://{host(server)}"]
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {one for one in loaded if one != "data:,"} <= {f"/static/{name}" for name in FILES}
    assert re.findall(r"\w+://[^/\"]*", page) == [f"ws://{host(server)}"]
    for name in FILES:
        assert status(await head(server, f"GET /static/{name} HTTP/1.1", *own(server))) == 200
    for name in ("../index.html", "%2e%2e%2fguard.py", "app_index.html", ""):
        assert status(await head(server, f"GET /static/{name} HTTP/1.1", *own(server))) == 404


async def test_who_says_nothing_makes_way(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(host(server).rpartition(":")[2])
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(strangers.MOST)]
    held, _, line = await opened(server, new_socket(), *socket_of(server))
    assert status(held) == 101
    assert await asyncio.wait_for(silent[0][0].read(), WAIT_S) == b""  # the oldest has made way
    silent += [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * strangers.MOST)]
    assert status(await head(server, "GET / HTTP/1.1", *own(server))) == 200
    assert not line.transport.is_closing()
    assert len(server._open) == 1
    monkeypatch.setattr(strangers, "SLOW_S", 0.05)
    late, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: ")
    assert await asyncio.wait_for(late.read(), WAIT_S) == b""
    for _, one in (*silent, (late, writer), (late, line)):
        one.close()


class Page:
    """The other end of a socket, as textual-serve's script is."""

    def __init__(self, line: Any) -> None:
        self.line = line
        self.drawn = ""

    async def until(self, text: str) -> None:
        self.drawn = ""
        while text not in self.drawn:
            message = await self.line.receive(timeout=WAIT_S)
            assert isinstance(message.data, bytes), message
            self.drawn += message.data.decode("utf-8", "replace")


async def _until(true: Callable[[], object]) -> None:
    async def look() -> None:
        while not true():  # noqa: ASYNC110 - nobody tells a test of it
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), WAIT_S)


async def test_keys_reach_the_console_which_can_only_watch_and_no_process_of_it_stays(server: PageServer) -> None:
    import aiohttp

    headers = {"Origin": f"http://{host(server)}", "Cookie": f"{server.guard.cookie_name}={server.guard.cookie}"}
    address = f"http://{host(server)}"
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(f"{address}/ws/{'a' * 16}?width=120&height=40") as line:
            page = Page(line)
            await page.until("read-only")
            (process,) = [console._own for console in server._consoles.values()]
            assert process is not None
            await line.send_json(["focus"])
            await line.send_json(["stdin", "x"])
            await page.until("this console only watches")
            await line.send_json(["stdin", "?"])
            await page.until("esc")
            await line.send_json(["ping", 3])
            assert Path(f"/proc/{process.pid}").exists()
        await _until(lambda: not server._consoles)
        assert process.returncode == 0
        async with session.ws_connect(f"{address}/ws/{'b' * 16}?width=120&height=40") as line:
            page = Page(line)
            await page.until("home-1")  # a reload: another console of the same run
            (second,) = [console._own for console in server._consoles.values()]
            assert second is not None
            await line.send_json(["stdin", "q"])
            await _until(lambda: not server._consoles)
        assert second.returncode is not None
        async with session.ws_connect(f"{address}/ws/{'c' * 16}?width=120&height=40") as line:
            page = Page(line)
            await page.until("home-1")
            (third,) = [console._own for console in server._consoles.values()]
            assert third is not None
            await line.send_json(["nonsense"])
            await _until(lambda: not server._consoles)
    assert not [pid for pid in (process.pid, second.pid, third.pid) if Path(f"/proc/{pid}").exists()]


def _in_group(group: int) -> list[str]:
    """Processes of it that are no zombies, which wait for whoever is 1 here."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its = place.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state != "Z":
                found.append(place.parent.name)
    return found


async def test_a_console_that_does_not_leave_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from motley.console.commands.serving.browser import console_process
    from motley.console.commands.serving.browser.page_server import PageServer

    monkeypatch.setattr(console_process, "LEAVE_S", 0.1)
    monkeypatch.setattr(console_process, "TERM_S", 0.1)
    deaf = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "os.fork(); print(flush=True); time.sleep(600)"
    )
    server = PageServer([sys.executable, "-c", deaf], "home-1")
    await server.start(0)
    answer, _, writer = await opened(server, new_socket(), *socket_of(server))
    assert status(answer) == 101
    await _until(lambda: server._consoles and next(iter(server._consoles.values()))._own is not None)
    process = next(iter(server._consoles.values()))._own
    assert process is not None
    await server.stop()
    writer.close()
    assert not _in_group(process.pid)


async def test_the_secrets_are_in_no_log_and_no_command_line(
    server: PageServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    path = server.guard.first_url.partition(host(server))[2]
    token = path.partition("=")[2]
    await head(server, f"GET {path} HTTP/1.1", f"Host: {host(server)}")
    await head(server, f"GET {path} HTTP/1.1", "Host: bad host")
    await head(server, f"GET {path} HTTP/9", f"Host: {host(server)}")  # aiohttp would log it
    _, _, writer = await opened(server, new_socket(), *socket_of(server))
    await _until(lambda: server._consoles and next(iter(server._consoles.values()))._own is not None)
    process = next(iter(server._consoles.values()))._own
    assert process is not None
    seen = Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/environ").read_text()
    writer.close()
    await server.stop()
    out, err = capfd.readouterr()
    for secret in (token, server.guard.cookie):
        assert secret not in seen + out + err + caplog.text
