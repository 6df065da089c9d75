"""Runs `remote.bootstrap` on a host: its text and what it reads go in on stdin, one JSON object comes back.

`remote.probe` and `remote.push` call it. Nothing needs to be on the host but a Python.

    >>> await call(connection, "python3", ["probe"], timeout_s=5)
    {'python': '3.11.2', …}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from remote.connection import Connection
from remote.errors import CommandFailed
from remote.sanitize import clean_lines
from remote.shell import pasteable

_PREFIX = b"motley:"
_PROGRAM = Path(__file__).with_name("bootstrap.py").read_bytes() + (
    b"\nsys.path[:] = [place for place in sys.path if place]"  # the home folder holds no modules
    b"\nmain(sys.argv[1:], sys.stdin.buffer)\n"
)
_TOO_OLD = "sys.stdout.write('motley:{%spython%s: %s%s.%s.%s%s}' % (q, q, q, v[0], v[1], v[2], q))"
_READ = f"sys.stdin.buffer.read({len(_PROGRAM)})"
_LAUNCHER = f"import sys; v = sys.version_info; q = chr(34); exec({_READ} if v >= (3, 8) else {_TOO_OLD!r})"


async def call(
    connection: Connection,
    python: str,
    argv: Sequence[str],
    *,
    payload: bytes = b"",
    timeout_s: float,
    sent: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """`sent` hears how many bytes have gone so far, about as many as there are in `payload`.

    Raises CommandFailed when `python` is not there, does not work or answers with anything but one object."""
    host = connection.host.name
    command = [python, "-c", _LAUNCHER, *argv]
    result = await connection.run(command, stdin=_PROGRAM + payload, timeout_s=timeout_s, sent=sent)
    answers = [line for line in result.stdout.split(b"\n") if line.startswith(_PREFIX)]
    if result.code == 127 or (result.code == 126 and not answers):
        missing = "is not there" if result.code == 127 else "can't be run"
        remedy = "Name the one that has torch as python in cluster.toml, or install it there: sudo apt install python3"
        raise CommandFailed(host, f"the Python {python!r} {missing}", remedy)
    if len(answers) != 1:
        said = result.stderr or clean_lines(result.stdout[-2000:].decode(errors="replace")).strip() or "nothing"
        last = said.splitlines()[-1]
        remedy = f"See whether it works there: {pasteable([python, '-c', 'import json, tarfile'])}"
        raise CommandFailed(host, f"{python} ended with code {result.code} and said: {last}", remedy)
    try:
        answer = json.loads(answers[0][len(_PREFIX) :])
    except ValueError as error:
        raise CommandFailed(host, f"{python} answered what is not JSON: {error}", "Report this.") from error
    if not isinstance(answer, dict):
        raise CommandFailed(host, f"{python} answered {type(answer).__name__}, no table", "Report this.")
    return answer
