"""What a host is asked before anything is sent to it, in one process. Runs there: see `remote.bootstrap`.

`remote.interview` speaks with it, a JSON object a line: what it is (`remote.bootstrap.probe`) and whether it reaches
the others (`remote.bootstrap.meet`). It ends with its stdin, and after a meeting.

    in  {"probe": {"leader": "10.0.0.1", "ports": [], "data": null}}             out  {"torch": "2.13.0+cpu", …}
    in  {"meet": {"name": "box1", "token": "f00…", "address": "10.0.0.2"}}       out  {"port": 40123}
"""

from __future__ import annotations

import json
import signal
from typing import BinaryIO

from remote.bootstrap.files import answer
from remote.bootstrap.meet import meet
from remote.bootstrap.probe import probe

LIFE_S = 30  # its console may have gone without a word


def main(_argv: list[str], stdin: BinaryIO) -> None:
    signal.alarm(LIFE_S)
    while True:
        asked = json.loads(stdin.readline() or b"{}")
        if "probe" in asked:
            answer(probe(asked["probe"]))
            continue
        if "meet" in asked:
            meet(asked["meet"], stdin)
        return
