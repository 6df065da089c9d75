"""Whether there is a terminal, and questions in a plain one: answered No unless the user types yes; a password is read
without an echo.

`motley check`, `motley keys` and `--plain` ask like this, between two attempts to connect; the screen has its own
(`screens.confirm`). The event loop stands still while the user thinks, so that Ctrl-C works as everywhere.

    findings = await preflight(cluster, Printer(), known if can_ask() else nobody)
"""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import sys
from collections.abc import Callable

from motley.console.control import questions
from motley.remote.errors import NewKey
from motley.remote.ssh.new_host_keys import Ask, nobody


def on_terminal() -> bool:
    """Textual reads stdin and draws on stderr; with stdout elsewhere the caller wants data, not a screen. A page in a
    browser is as good as a terminal: textual-serve says so."""
    if os.environ.get("TEXTUAL_DRIVER", "").startswith("textual.drivers.web_driver:"):
        return True
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return os.environ.get("TERM") != "dumb" and all(s is not None and s.isatty() for s in streams)


def can_ask() -> bool:
    """Whether a user sits there: questions go to stderr, so stdout may be elsewhere."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


async def known(key: NewKey) -> bool:
    """Ask whether to accept a host key."""
    question = questions.host_key(key)
    return await yes(f"{question.text} It is not known yet.\n  {question.detail}\nAccept it?")


async def yes(question: str) -> bool:
    return (await _asked(lambda: _line(f"{question} [y/N] "))).strip().lower() in ("y", "yes")


async def secret(prompt: str) -> str:
    """What the user types, unseen; empty when they type nothing. Nothing keeps it but the caller."""
    return await _asked(lambda: getpass.getpass(prompt, sys.stderr))


async def _asked(read: Callable[[], str]) -> str:
    """Empty at the end of input. Ctrl-C goes to whoever waits for it once the terminal is as it was."""
    wakeup = signal.set_wakeup_fd(-1)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return read()
    except EOFError:
        return ""
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(wakeup)
    if not callable(handler):  # deaf to it since its start, in a script's background: nobody waits for it
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
    await asyncio.Event().wait()  # that ends this task
    return ""


def _line(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def asker() -> Ask:
    """Asks about new host keys in a terminal; nobody where there is none."""
    return known if can_ask() else nobody
