"""A headless Chromium of Debian, driven over its DevTools protocol by aiohttp, which textual-serve brings.

async with chromium(tmp_path, size=(1000, 600)) as page:
    await page.open("http://127.0.0.1:9465/")
    await page.until("document.body.classList.contains('-first-byte')")
    (tmp_path / "page.png").write_bytes(await page.picture())
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
NAMED = {"Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9}
START_S = 60.0
ANSWER_S = 30.0
WORDS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


class Page:
    """One tab. `requests`: addresses that it has asked for; `sent`: by its sockets; `errors`: on its console."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.sent: list[str] = []
        self.drawn = ""  # what its sockets have heard of a console
        self.listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for message in self._line:
            said = message.json()
            if (number := said.get("id")) in self._answers:
                self._answers.pop(number).set_result(said)
            what, told = said.get("method"), said.get("params", {})
            if what == "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            elif what == "Network.webSocketCreated":
                self.requests.append(told["url"])
            elif what == "Network.webSocketFrameSent":
                self.sent.append(told["response"]["payloadData"])
            elif what == "Network.webSocketFrameReceived" and told["response"]["opcode"] == 2:
                self.drawn += base64.b64decode(told["response"]["payloadData"]).decode("utf-8", "replace")
            elif what == "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"]))
            elif what == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
                self.errors.append(str(told["args"]))
            elif what == "Log.entryAdded" and told["entry"]["level"] == "error":
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    async def call(self, method: str, **told: Any) -> dict[str, Any]:
        """Raises RuntimeError for what the browser refuses."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        await self._line.send_json({"id": self._number, "method": method, "params": told})
        said = await asyncio.wait_for(answer, ANSWER_S)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        found: dict[str, Any] = said["result"]
        return found

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def open(self, address: str) -> None:
        await self.call("Page.navigate", url=address)
        await self.until("document.readyState === 'complete'")

    async def ask(self, expression: str) -> Any:
        """The value of a line of JavaScript."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Raises asyncio.TimeoutError."""

        async def true() -> None:
            while True:
                with contextlib.suppress(RuntimeError):  # between two pages there is none to ask
                    if await self.ask(f"Boolean({expression})"):
                        return
                await asyncio.sleep(0.05)

        await asyncio.wait_for(true(), START_S)

    async def until_drawn(self, text: str) -> None:
        """Since this was last cleared: `page.drawn = ""`. Raises asyncio.TimeoutError."""

        async def drawn() -> None:
            while text not in self.drawn:  # noqa: ASYNC110 - beside what listens
                await asyncio.sleep(0.05)

        await asyncio.wait_for(drawn(), START_S)

    async def press(self, key: str) -> None:
        """One printable character, or a key of `NAMED`, as a user types it."""
        told: dict[str, Any] = {"key": key, "text": key}
        if key in NAMED:
            told = {"key": key, "code": key, "windowsVirtualKeyCode": NAMED[key]}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **told)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    async def picture(self) -> bytes:
        """Of what is seen, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@contextlib.asynccontextmanager
async def chromium(home: Path, *, size: tuple[int, int], offline: bool = False) -> AsyncGenerator[Page]:
    """`home`: an empty folder for its profile. `offline`: no name leads anywhere, and no request leaves."""
    import aiohttp

    assert PROGRAM is not None
    profile = home / "chromium"
    away = ("--host-resolver-rules=MAP * ~NOTFOUND",) if offline else ()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *WORDS, *away, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        async with aiohttp.ClientSession() as session:
            port = await asyncio.wait_for(_port(process.stderr), START_S)
            draining = asyncio.ensure_future(process.stderr.read())
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                (address,) = [one["webSocketDebuggerUrl"] for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(address, max_msg_size=1 << 26) as line:
                page = Page(line)
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.call(f"{domain}.enable")
                if offline:
                    await page.call(
                        "Network.emulateNetworkConditions",
                        offline=True, latency=0, downloadThroughput=0, uploadThroughput=0,
                    )  # fmt: skip
                await page.resize(*size)
                yield page
                page.listening.cancel()
                await asyncio.gather(page.listening, return_exceptions=True)
    finally:
        process.terminate()
        await process.wait()
        if draining is not None:
            await draining


async def _port(stderr: asyncio.StreamReader) -> int:
    while line := (await stderr.readline()).decode():
        if "DevTools listening on ws://" in line:
            return int(line.partition("127.0.0.1:")[2].partition("/")[0])
    raise RuntimeError("Chromium ended before it listened")
