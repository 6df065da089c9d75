"""Commands that take long: what they say is told while they run. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import os
import re
import subprocess

from motley.trainer.bootstrap.files import answer

LAST = 12  # lines of what failed
SHOWN = 200  # characters of a line


def follow(argv: list[str], told: str = "", env: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """Exit code and its last lines; of those that match `told`, each is told as it comes. `env`: beside its own.

    When nobody listens any more, it is ended.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
    ) as child:
        assert child.stdout is not None
        said: list[str] = []
        try:
            for line in child.stdout:
                words = re.sub(r"\s+", " ", line).strip()
                if words:
                    said = [*said[1 - LAST :], line.rstrip()]
                if words and re.match(told, words):
                    answer({"note": words[:SHOWN]})
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    return code, said
