"""Who may see the page: the browser that was given the one-time URL, and no web page that it has open beside it.

Whoever may write to the page's socket types into the console, and any web page can have a browser connect to
127.0.0.1. So each request, whatever it asks for, is judged before anything else is done with it:

    guard = Guard(port=9465)
    guard.first_url                  # http://127.0.0.1:9465/?token=…: works once
    guard.judge(asked)               # Refused, "exchange" (the token for the cookie) or "welcome"

- Host is exactly one of the two names that this page has: somebody else's name that leads here (DNS rebinding) is not.
- Origin, where a browser says one, is the page's own; a socket, and what is not GET or HEAD, must say one.
- The cookie that was given for the token. It is HttpOnly and SameSite=Strict, and ends with the server.

Token and cookie are made anew for each server, are compared in constant time, and stay out of logs, events and titles.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Union

ADDRESS = "127.0.0.1"
SAFE = ("GET", "HEAD")
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of itself. `hosts`, `origins`, `tokens`: all that it says; one is right at most."""

    method: str
    path: str
    hosts: Sequence[str]
    origins: Sequence[str] = ()
    tokens: Sequence[str] = field(default=(), repr=False)
    cookie: str | None = field(default=None, repr=False)
    socket: bool = False  # wants to be a WebSocket


@dataclass(frozen=True, slots=True)
class Refused:
    """`why` may be shown to whoever asked."""

    why: str


Verdict = Union[Refused, Literal["exchange", "welcome"]]


class Guard:
    """Of one server at `port` of this machine's loopback."""

    def __init__(self, port: int) -> None:
        end = "" if port == 80 else f":{port}"  # browsers leave it out
        self.names = tuple(f"{name}{end}" for name in (ADDRESS, "localhost"))
        self.cookie_name = f"motley_console_{port}"  # cookies of a machine's ports lie in one jar
        self.cookie = secrets.token_urlsafe(SECRET_BYTES)
        self._token: str | None = secrets.token_urlsafe(SECRET_BYTES)
        self.first_url = f"http://{self.names[0]}/?token={self._token}"

    def judge(self, asked: Asked) -> Verdict:
        """An "exchange" uses the token up."""
        if len(asked.hosts) != 1 or asked.hosts[0] not in self.names:
            return Refused("this page has another name: use the address that motley serve has printed")
        own = f"http://{asked.hosts[0]}"
        if any(origin != own for origin in asked.origins) or len(asked.origins) > 1:
            return Refused("another page asks")
        if not asked.origins and (asked.socket or asked.method not in SAFE):
            return Refused("no Origin was said")
        if asked.tokens:
            return self._exchanged(asked)
        if asked.cookie is None or not _same(asked.cookie, self.cookie):
            return Refused("open the address that motley serve has printed: this browser has not shown its token")
        return "welcome"

    def _exchanged(self, asked: Asked) -> Verdict:
        token = self._token
        if asked.method != "GET" or asked.path != "/" or asked.socket or len(asked.tokens) != 1:
            return Refused("a token is taken at the first page alone")
        if token is None or not _same(asked.tokens[0], token):
            return Refused("this address has been used or is wrong: it works once. End motley serve and start it again")
        self._token = None
        return "exchange"


def _same(said: str, secret: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "surrogateescape"), secret.encode())
