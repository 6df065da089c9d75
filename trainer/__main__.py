"""`python -m trainer VERB`: what the master asks of a host, and what a supervisor starts there.

| verb | started by | does |
|---|---|---|
| supervise, rejoin | master | reads a spec (or has it already), leaves a supervisor behind |
| coordinate, rank, script | supervisor | one run's coordinator, one rank, what starts one rank of a script |
| forkserver | supervisor | imports torch once, and forks the ranks |
| contained | supervisor, in a container | one rank there, which ends with the supervisor |
| rerun | master | has the supervisor go on with a new run, whose ranks need not import torch |
| attach | master | streams a run's files from offsets |
| status, stop, fetch, store, lead, roll, clean | master | answers and ends |
| calibrate, link | master | measures a device, the network to the leader; ends when stdin closes |
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.folders import run_folder

Adds = Callable[[argparse.ArgumentParser], object]


def option(*names: str, **how: Any) -> Adds:
    return lambda parser: parser.add_argument(*names, **how)


def link_ends(parser: argparse.ArgumentParser) -> None:
    ends = parser.add_mutually_exclusive_group(required=True)
    ends.add_argument("--listen", metavar="ADDRESS")
    ends.add_argument("--connect", metavar="ADDRESS")


RUN = (option("--run", required=True), option("--host", required=True))
ROOM = option("--room", help="of no use but to be long: see trainer.title")
MEMBER = option("--member", type=int, required=True)
VERBS: dict[str, tuple[Adds, ...]] = {
    "supervise": (ROOM,),
    "coordinate": (*RUN, option("--listen-fd", type=int, required=True)),
    "rank": (*RUN, MEMBER, option("--anew", action="store_true")),
    "script": (*RUN, MEMBER),
    "contained": (option("--lock", required=True), option("words", nargs=argparse.REMAINDER)),
    "forkserver": (*RUN, ROOM, option("--control", type=int, required=True)),
    "rerun": RUN,
    "attach": RUN,
    "rejoin": (*RUN, ROOM, option("--ended", action="store_true")),
    "lead": RUN,
    "roll": RUN,
    "status": (option("--host"),),
    "clean": (option("--host", required=True), option("--remove", action="store_true")),
    "stop": (*RUN, option("--reason", default="")),
    "fetch": (*RUN, option("file")),
    "store": (*RUN, option("file")),
    "calibrate": (),
    "link": (link_ends, option("--port", type=int, default=0)),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Of all verbs only the one that is asked for is made a parser of: this is done at the start of every process."""
    parser = argparse.ArgumentParser(prog="python -m trainer")
    verbs = parser.add_subparsers(dest="verb", required=True)
    asked = [verb for verb in arguments[:1] if verb in VERBS]
    for verb in asked or VERBS:
        of_verb = verbs.add_parser(verb)
        for add in VERBS[verb]:
            add(of_verb)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    given = parse(sys.argv[1:] if arguments is None else arguments)
    match given.verb:
        case "supervise":
            from trainer.detach import supervise

            return supervise(sys.stdin.buffer, sys.stdout)
        case "rejoin":
            from trainer.detach import rejoin

            return rejoin(given.run, given.host, sys.stdout, ended=given.ended)
        case "coordinate":
            from trainer.coordinator import serve

            return serve(given.run, given.host, given.listen_fd)
        case "rank":
            from trainer import rank

            return rank.main(given.run, given.host, given.member, anew=given.anew)
        case "forkserver":
            from trainer import forkserver

            return forkserver.serve(given.run, given.host, given.control)
        case "rerun":
            from trainer.rerun import rerun

            return rerun(given.run, given.host, sys.stdin.buffer, sys.stdout)
        case "script":
            from trainer import script

            return script.main(given.run, given.host, given.member)
        case "contained":
            from trainer.contained import main as first

            return first(Path(given.lock), given.words)
        case "attach":
            from trainer.attach import attach

            return attach(run_folder(given.run, given.host), sys.stdin.buffer, sys.stdout.buffer)
        case "clean":
            from trainer import clean

            wanted = [(kind, name) for kind, name in json.load(sys.stdin)] if given.remove else None
            print(json.dumps(clean.answer(given.host) if wanted is None else clean.remove(given.host, wanted)))
            return 0
        case "calibrate":
            from trainer.calibrate import calibrate

            return calibrate(sys.stdin.buffer, sys.stdout)
        case "link":
            from trainer import link as network

            if given.listen:
                return network.listen(given.listen, sys.stdin.buffer, sys.stdout)
            return network.connect(given.connect, given.port, sys.stdin.buffer, sys.stdout)
    from trainer import status

    match given.verb:
        case "status":
            status.print_json({"runs": status.status(given.host)})
        case "stop":
            status.print_json(status.stop(given.run, given.host, given.reason))
        case "lead":
            status.print_json(status.lead(given.run, given.host, sys.stdin.buffer))
        case "roll":
            from trainer.roll import change

            status.print_json(change(given.run, given.host, sys.stdin.buffer))
        case "fetch":
            return status.fetch(given.run, given.host, given.file, sys.stdout.buffer)
        case "store":
            return status.store(given.run, given.host, given.file, sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
