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
from pathlib import Path

from trainer.folders import run_folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer")
    verbs = parser.add_subparsers(dest="verb", required=True)
    roomy = argparse.ArgumentParser(add_help=False)
    roomy.add_argument("--room", help="of no use but to be long: see trainer.title")
    verbs.add_parser("supervise", parents=[roomy])
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--run", required=True)
    one.add_argument("--host", required=True)
    verbs.add_parser("coordinate", parents=[one]).add_argument("--listen-fd", type=int, required=True)
    rank_verb = verbs.add_parser("rank", parents=[one])
    rank_verb.add_argument("--member", type=int, required=True)
    rank_verb.add_argument("--anew", action="store_true")
    verbs.add_parser("script", parents=[one]).add_argument("--member", type=int, required=True)
    contained = verbs.add_parser("contained")
    contained.add_argument("--lock", required=True)
    contained.add_argument("words", nargs=argparse.REMAINDER)
    forkserver_verb = verbs.add_parser("forkserver", parents=[one, roomy])
    forkserver_verb.add_argument("--control", type=int, required=True)
    verbs.add_parser("rerun", parents=[one])
    verbs.add_parser("attach", parents=[one])
    verbs.add_parser("rejoin", parents=[one, roomy]).add_argument("--ended", action="store_true")
    verbs.add_parser("lead", parents=[one])
    verbs.add_parser("roll", parents=[one])
    verbs.add_parser("status").add_argument("--host")
    clean_verb = verbs.add_parser("clean")
    clean_verb.add_argument("--host", required=True)
    clean_verb.add_argument("--remove", action="store_true")
    verbs.add_parser("stop", parents=[one]).add_argument("--reason", default="")
    verbs.add_parser("fetch", parents=[one]).add_argument("file")
    verbs.add_parser("store", parents=[one]).add_argument("file")
    verbs.add_parser("calibrate")
    link = verbs.add_parser("link")
    ends = link.add_mutually_exclusive_group(required=True)
    ends.add_argument("--listen", metavar="ADDRESS")
    ends.add_argument("--connect", metavar="ADDRESS")
    link.add_argument("--port", type=int, default=0)
    given = parser.parse_args(arguments)
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
