"""What a host is asked before anything is sent to it, in one process. Runs there: see `trainer.bootstrap`.

`remote.preflight.host_inspection` speaks with it, a JSON object a line: what it is (`trainer.bootstrap.probe`), does it
reach the others (`trainer.bootstrap.reachability`), and a run that may come (`trainer.bootstrap.prestart`). It ends
with its stdin.

    in  {"probe": {"leader": "10.0.0.1", "ports": [], "data": null}}             out  {"torch": "2.13.0+cpu", …}
    in  {"cards": true}, where only torch knows them                             out  {"accelerators": [], …}
    in  {"prepare": {"code": "/home/ada/.motley/code/f00…", "tags": {…}, "given": {…}}}
    in  {"meet": {"name": "box1", "token": "f00…", "address": "10.0.0.2"}}       out  {"port": 40123}
"""

from __future__ import annotations

import json
import signal
from typing import BinaryIO

from motley.trainer.bootstrap.files import answer
from motley.trainer.bootstrap.gpus import torchs_cards
from motley.trainer.bootstrap.prestart import Prestart
from motley.trainer.bootstrap.probe import probe
from motley.trainer.bootstrap.reachability import meet, missed

LIFE_S = 30  # its console may have gone without a word
RUN_S = 150  # until the run comes: what is pushed before takes its time


def main(_argv: list[str], stdin: BinaryIO) -> None:
    signal.alarm(LIFE_S)
    early, hello = None, {}
    while line := stdin.readline():
        asked = json.loads(line)
        if "probe" in asked:
            answer(probe(asked["probe"]))
        elif "cards" in asked:
            signal.alarm(LIFE_S)
            answer(torchs_cards())
            signal.alarm(LIFE_S)
        elif "prepare" in asked:
            signal.alarm(RUN_S)
            early = Prestart(asked["prepare"])
        elif "meet" in asked:
            hello = asked["meet"]
            meet(hello)
        elif "peers" in asked:
            answer({"missed": missed(asked["peers"], hello["address"], hello["token"], asked["within_s"])})
        elif early is not None:
            answer(json.loads(early.tell(asked["begin"])))
            return
    if early is not None:
        early.tell("")
