"""The page's server: guard, page, files and sockets, on this machine's loopback.

    server = PageServer(lambda: attach_words, run="night")
    await server.start(9465)
    print(server.guard.first_url)
    ...
    await server.stop()              # no console of it is left

Everything the page loads comes from here: its own page, and script, font and style of textual-serve. Each socket has a
console of its own, so a reload is another `motley attach` of the same run. Nothing is logged but what can't be known
otherwise: an address may hold the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import logging
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path

from aiohttp import WSMsgType, web

from motley.console.commands.serving.browser.console_process import ConsoleProcess
from motley.console.commands.serving.browser.guard import ADDRESS, Asked, Guard, Refused
from motley.console.commands.serving.browser.strangers import Strangers
from motley.remote.errors import UsageError

MOST_CONSOLES = 4
MOST_CELLS = 1000  # of a side of a screen
MOST_BYTES = 1 << 20  # of one message of a page
HEARTBEAT_S = 15.0
SEAT_S = 10.0  # that a reload may wait for the console before it to be gone
ENDED_S = 10.0
KEPT_WORDS = 16
FONT_PX = 16

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """`words`: the command line of one console."""

    def __init__(self, words: Sequence[str], run: str) -> None:
        self._words, self._run = words, run
        self._open: set[web.WebSocketResponse] = set()
        self._consoles: dict[str, ConsoleProcess] = {}  # by a page's number
        self._freed = asyncio.Event()
        self._said: dict[str, str] = {}  # by a page's number
        self._closing = False
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._strangers: Strangers
        self.guard: Guard

    async def start(self, port: int) -> int:
        """Returns the port; 0: one that is free. Raises UsageError where it can't be had."""
        app = web.Application(middlewares=[self._guarded])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/ws/{number:[0-9a-f]{16}}", self._socket),
                web.get("/ended/{number:[0-9a-f]{16}}", self._ended),
                web.get("/static/{name}", self._file),
            ]
        )
        quiet = logging.getLogger("motley.serve")  # what aiohttp says of a bad request has its address in it
        quiet.disabled = True
        try:
            listener = socket.create_server((ADDRESS, port))
        except OSError as error:
            raise UsageError(f"port {port} can't be had: {error.strerror}; name another with --port") from error
        bound = int(listener.getsockname()[1])
        self.guard = Guard(bound)
        self._runner = web.AppRunner(app, access_log=None, logger=quiet, shutdown_timeout=1.0)
        await self._runner.setup()
        self._strangers = Strangers(self._runner.server)
        self._listening = await asyncio.get_running_loop().create_server(self._strangers, sock=listener)
        return bound

    async def stop(self) -> None:
        self._closing = True
        if self._listening is not None:
            self._listening.close()
            self._strangers.end_all()
        await asyncio.gather(*(line.close(code=1001) for line in self._open), return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self._consoles.values()))
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Next) -> web.StreamResponse:
        verdict = self.guard.judge(_asked(request, self.guard.cookie_name))
        answer: web.StreamResponse
        if isinstance(verdict, Refused):
            answer = web.Response(status=403, text=f"403: {verdict.why}\n")
            answer.force_close()
        elif verdict == "exchange":
            answer = self._exchange()
        else:
            self._strangers.known(request.protocol)
            try:
                answer = await handler(request)
            except web.HTTPException as error:
                answer = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        if not answer.prepared:
            answer.headers.update(_headers("" if isinstance(verdict, Refused) else request.host))
        return answer

    def _exchange(self) -> web.Response:
        """Not a redirect: what a link elsewhere began would have no SameSite=Strict cookie at its end."""
        on = '<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0;url=/"><a href="/">the console</a>'
        text = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>motley</title>{on}</html>'
        answer = web.Response(text=text, content_type="text/html")
        answer.set_cookie(self.guard.cookie_name, self.guard.cookie, httponly=True, samesite="Strict", path="/")
        return answer

    async def _page(self, request: web.Request) -> web.Response:
        number = secrets.token_hex(8)
        filled = {
            "@RUN@": html.escape(self._run),
            "@SOCKET@": f"ws://{request.host}/ws/{number}",  # the guard knows this host
            "@FONT@": str(FONT_PX),
        }
        text = _own("index.html").decode()
        for name, value in filled.items():
            text = text.replace(name, value)
        return web.Response(text=text, content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = FILES.get(name)
        if found is None:
            raise web.HTTPNotFound
        place, kind = found
        body = _own(name) if place is None else await asyncio.to_thread((_libraries() / place).read_bytes)
        return web.Response(body=body, content_type=kind, charset="utf-8" if kind.startswith("text/") else None)

    async def _ended(self, request: web.Request) -> web.Response:
        """What its console said at its end, which may be yet to come."""
        number = request.match_info["number"]
        if (process := self._consoles.get(number)) is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.over.wait(), ENDED_S)
        if self._closing:
            return web.Response(text="motley serve has ended, and this console with it. The run goes on.")
        return web.Response(text=self._said.get(number) or "This console has ended. The run is as it was.")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        number = request.match_info["number"]
        has_seat = await self._has_seat()
        if number in self._consoles:
            raise web.HTTPConflict
        if not has_seat:
            said = f"{len(self._open)} consoles are open in browsers already: close one of them"
            self._keep(number, said, 1)
            return web.Response(status=503, text=f"503: {said}\n")
        line = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MOST_BYTES)
        process = ConsoleProcess(self._words, line, told=lambda said, code: self._keep(number, said, code))
        self._open.add(line)
        self._consoles[number] = process
        try:
            await line.prepare(request)
            await process.start(_cells(request.query.get("width"), 80), _cells(request.query.get("height"), 24))
            async for message in line:
                if message.type == WSMsgType.TEXT and not await _heard(process, line, message.data):
                    break
        finally:
            self._open.discard(line)
            await asyncio.shield(self._leave(number, process))
            with contextlib.suppress(ConnectionError):
                await line.close()
        return line

    async def _leave(self, number: str, process: ConsoleProcess) -> None:
        try:
            await process.stop()
        finally:
            del self._consoles[number]
            self._freed.set()

    async def _has_seat(self) -> bool:
        """A reload comes before the console of the page before it is gone."""
        until = asyncio.get_running_loop().time() + SEAT_S
        while len(self._consoles) >= MOST_CONSOLES:
            left_s = until - asyncio.get_running_loop().time()
            if len(self._open) >= MOST_CONSOLES or left_s <= 0:
                return False
            self._freed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._freed.wait(), left_s)
        return not self._closing

    def _keep(self, number: str, said: str, code: int) -> None:
        """For the page that asks why its console has ended; an error for the terminal too."""
        if not said:
            return
        self._said[number] = said
        while len(self._said) > KEPT_WORDS:
            del self._said[next(iter(self._said))]
        if code != 0 and not self._closing:
            print(f"motley: a console in a browser: {said}", file=sys.stderr)


async def _heard(process: ConsoleProcess, line: web.WebSocketResponse, text: str) -> bool:
    """One message of textual-serve's script. False for what it would not send."""
    try:
        match json.loads(text):
            case ["stdin", str(keys)]:
                await process.send_bytes(keys.encode("utf-8", "replace"))
            case ["resize", {"width": int(width), "height": int(height)}]:
                await process.set_terminal_size(_within(width), _within(height))
            case ["ping", str() | int() | float() as echo]:
                await line.send_json(["pong", echo])
            case ["focus", *_]:
                await process.focus()
            case ["blur", *_]:
                await process.blur()
            case _:
                return False
    except (ValueError, ConnectionError):
        return False
    return True


def _asked(request: web.Request, cookie_name: str) -> Asked:
    return Asked(
        method=request.method,
        path=request.path,
        hosts=request.headers.getall("Host", []),
        origins=request.headers.getall("Origin", []),
        tokens=request.query.getall("token", []),
        cookie=request.cookies.get(cookie_name),
        socket="Upgrade" in request.headers or request.path.startswith("/ws"),
    )


def _headers(host: str) -> dict[str, str]:
    """`host`: the page's own name; empty for who is refused. xterm.js writes styles of its own."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
        f"img-src 'self' data:; connect-src 'self' {f'ws://{host}' if host else ''}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "clipboard-read=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


FILES: dict[str, tuple[str | None, str]] = {  # what may be loaded: textual-serve's name (None: ours), its type
    "page.css": (None, "text/css"),
    "page.js": (None, "text/javascript"),
    "textual.js": ("js/textual.js", "text/javascript"),
    "xterm.css": ("css/xterm.css", "text/css"),
    "RobotoMono.ttf": ("fonts/RobotoMono-VariableFont_wght.ttf", "font/ttf"),
}


def _own(name: str) -> bytes:
    return (Path(__file__).parent / "page" / name).read_bytes()


def _libraries() -> Path:
    return Path(str(files("textual_serve"))) / "static"


def _cells(said: str | None, default: int) -> int:
    return _within(int(said)) if said is not None and said.isascii() and said.isdigit() and len(said) < 6 else default


def _within(cells: int) -> int:
    return max(1, min(MOST_CELLS, cells))
