"""A supervisor that is forked before its run is known, to import torch meanwhile. Runs there: see `trainer.bootstrap`.

`remote.launch.prestart` asks for it in the conversation of the check, on a host that has our code already: another
start of Python is saved. It hears of its run in the same conversation, or ends with it
(`trainer.supervisor.daemonize.prepare`).

    in  {"prepare": {"code": "/home/ada/.motley/code/f00…", "tags": {…}, "given": {…}}}
    in  {"begin": "the spec"}                                                out  {"ok": true, "pid": 4711}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any

TOO_LATE = '{"ok": false, "late": true}'


class Prestart:
    """What waits for its run. Fork it while this process has one thread."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._reader, writer = os.pipe()
        coming, self._passing = os.pipe()
        first = os.fork()
        if first == 0:
            os.setsid()
            if os.fork() == 0:
                os.close(self._reader)
                os.close(self._passing)
                _become(asked, writer, coming)
            os._exit(0)
        os.close(writer)
        os.close(coming)
        os.waitpid(first, 0)

    def tell(self, spec: str) -> str:
        """What it says to its run, in JSON (`trainer.supervisor.daemonize`). Without a spec it has ended then."""
        try:
            with os.fdopen(self._passing, "wb") as passing:
                passing.write(spec.encode())
        except BrokenPipeError:  # it did not wait so long
            pass
        with os.fdopen(self._reader) as reader:
            answer = reader.readline().strip() or TOO_LATE
            if not json.loads(answer).get("ok"):
                reader.read()  # it ends now; until it has
            return answer


def _become(asked: dict[str, Any], writer: int, coming: int) -> None:
    """Never returns. What goes wrong is found out again, and told, where a supervisor is started at the usual time."""
    try:
        os.chdir(asked["code"])
        if asked["code"] not in sys.path:
            sys.path.insert(0, asked["code"])
        gc.disable()
        detach = importlib.import_module("motley.trainer.supervisor.daemonize")
        gc.freeze()  # and what is loaded stays: the processes forked from this one share its pages
        gc.enable()
        detach.prepare(asked["given"], asked["tags"], writer, coming)
    except Exception:  # noqa: BLE001 - whatever that code raises
        import traceback  # where nothing goes wrong it is not needed

        traceback.print_exc()
    finally:
        os._exit(1)
