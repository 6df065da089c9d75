"""`python -m motley.trainer VERB`: what the master asks of a host, and what a supervisor starts there.

| verb | started by | does |
|---|---|---|
| supervise, rejoin | master | reads a spec (or has it already), leaves a supervisor behind |
| coordinate, rank, script | supervisor | one run's coordinator, one rank, what starts one rank of a script |
| requeued | the keeper of a Slurm node | takes a run up again in a job that was started anew |
| pod | a pod of Kubernetes | starts its part of a run, where no console is, and follows it to the end |
| forkserver | supervisor | imports torch once, and forks the ranks |
| contained | supervisor, in a container | one rank there, which ends with the supervisor |
| rerun | master | has the supervisor go on with a new run, whose ranks need not import torch |
| attach | master | streams a run's files from offsets |
| results | master | sends what a script has written home, as it settles |
| status, stop, fetch, store, prove, export, lead, roll, checkpoint, clean | master | answers and ends |
| calibrate, trial, link | master | measures a device, tries a task there, measures the network to the leader; ends |
| | | when stdin closes |
| verify | master | computes one step of a run again; ends when stdin closes |
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from motley.trainer.host.paths import run_folder


class Option(NamedTuple):
    """One word of a verb, and how `argparse` is to read it."""

    name: str
    how: dict[str, Any]


def option(name: str, **how: Any) -> Option:
    return Option(name, how)


RUN = (option("--run", required=True), option("--host", required=True))
ROOM = option("--room", help="of no use but to be long: see motley.trainer.host.process_title")
MEMBER = option("--member", type=int, required=True)
PORT = option("--port", type=int, default=0)
EITHER = {"link": ("--listen", "--connect")}  # of these one is needed
VERBS: dict[str, tuple[Option, ...]] = {
    "supervise": (ROOM,),
    "coordinate": (*RUN, option("--listen-fd", type=int, required=True)),
    "rank": (*RUN, MEMBER, option("--anew", action="store_true")),
    "script": (*RUN, MEMBER),
    "contained": (option("--lock", required=True), option("words", nargs="...")),
    "forkserver": (*RUN, ROOM, option("--control", type=int, required=True)),
    "pod": (option("--description", required=True),),
    "rerun": RUN,
    "attach": RUN,
    "results": (*RUN, option("--once", action="store_true")),
    "rejoin": (*RUN, ROOM, option("--ended", action="store_true")),
    "requeued": (
        *RUN,
        ROOM,
        *(option(name, required=True) for name in ("--leader", "--address")),
        option("--restarts", type=int, required=True),
        option("--given", action="store_true"),
        option("--checkpoint", default=""),
    ),
    "lead": RUN,
    "roll": RUN,
    "checkpoint": (*RUN, option("--request", required=True)),
    "status": (option("--host"),),
    "clean": (option("--host", required=True), option("--remove", action="store_true")),
    "stop": (*RUN, option("--reason", default="")),
    "fetch": (*RUN, option("file")),
    "store": (*RUN, option("file")),
    "prove": (*RUN, option("file")),
    "export": (
        *RUN,
        option("--format", choices=("safetensors", "pt", "folder"), required=True),
        option("--merge", action="store_true"),
        option("--inside", action="store_true"),
        option("file", nargs="?"),
    ),
    "verify": (*RUN, option("--inside", action="store_true")),
    "calibrate": (),
    "trial": (),
    "link": (option("--listen", metavar="ADDRESS"), option("--connect", metavar="ADDRESS"), PORT),
}


def parse(arguments: Sequence[str]) -> Any:
    """The verb, and its options by name. What is wrong is said on stderr, and raises SystemExit."""
    plain = parse_plain(arguments)
    return plain if plain is not None else parse_any(arguments)


def parse_plain(arguments: Sequence[str]) -> Any:
    """Of a verb whose words are all flags and `--name value`; None for any other, and where something is wrong.

    For `argparse` takes longer than all else that a process does here, and this is done at the start of every one.
    """
    verb, *words = arguments or [""]
    how = {option.name: option.how for option in VERBS.get(verb, ())}
    if verb not in VERBS or verb in EITHER or not all(name.startswith("--") for name in how):
        return None
    said = {name: one.get("default", False if "action" in one else None) for name, one in how.items()}
    given = iter(words)
    for name in given:
        if name not in how:
            return None
        if "action" in how[name]:
            said[name] = True
            continue
        value = next(given, "-")
        if value.startswith("-") or ("type" in how[name] and not value.isdecimal()):
            return None
        said[name] = how[name].get("type", str)(value)
    if any(one.get("required") and said[name] is None for name, one in how.items()):
        return None
    return SimpleNamespace(verb=verb, **{name[2:].replace("-", "_"): value for name, value in said.items()})


def parse_any(arguments: Sequence[str]) -> Any:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m motley.trainer")
    verbs = parser.add_subparsers(dest="verb", required=True)
    asked = [verb for verb in arguments[:1] if verb in VERBS]
    for verb in asked or VERBS:
        of_verb = verbs.add_parser(verb)
        either = of_verb.add_mutually_exclusive_group(required=True) if verb in EITHER else of_verb
        for name, how in VERBS[verb]:
            (either if name in EITHER.get(verb, ()) else of_verb).add_argument(name, **how)
    return parser.parse_args(arguments)


def print_json(table: object) -> None:
    print(json.dumps(table), flush=True)


def main(arguments: list[str] | None = None) -> int:
    given = parse(sys.argv[1:] if arguments is None else arguments)
    match given.verb:
        case "supervise":
            from motley.trainer.supervisor.daemonize import supervise

            return supervise(sys.stdin.buffer, sys.stdout)
        case "rejoin":
            from motley.trainer.supervisor.daemonize import rejoin

            return rejoin(given.run, given.host, sys.stdout, ended=given.ended)
        case "requeued":
            from motley.trainer.requeue.requeued import requeued

            job = {"leader": given.leader, "address": given.address, "restarts": given.restarts}
            job |= {"given": sys.stdin.buffer if given.given else None, "checkpoint": given.checkpoint}
            return requeued(given.run, given.host, sys.stdout, **job)
        case "coordinate":
            from motley.trainer.coordinator.process import serve

            return serve(given.run, given.host, given.listen_fd)
        case "rank":
            from motley.trainer.rank import task_rank

            return task_rank.main(given.run, given.host, given.member, anew=given.anew)
        case "forkserver":
            from motley.trainer.rank import forkserver

            return forkserver.serve(given.run, given.host, given.control)
        case "rerun":
            from motley.trainer.verbs.rerun import rerun

            return rerun(given.run, given.host, sys.stdin.buffer, sys.stdout)
        case "script":
            from motley.trainer.rank import script_rank

            return script_rank.main(given.run, given.host, given.member)
        case "contained":
            from motley.trainer.supervisor.container_init import main as first

            return first(Path(given.lock), given.words)
        case "pod":
            from motley.trainer.pod.start import run_pod

            return run_pod(Path(given.description))
        case "attach":
            from motley.trainer.verbs.attach import attach

            return attach(run_folder(given.run, given.host), sys.stdin.buffer, sys.stdout.buffer)
        case "results":
            from motley.trainer.verbs.results import results

            folder = run_folder(given.run, given.host)
            return results(folder, sys.stdin.buffer, sys.stdout.buffer, once=given.once)
        case "clean":
            from motley.trainer.verbs import clean

            wanted = [(kind, name) for kind, name in json.load(sys.stdin)] if given.remove else None
            print_json(clean.answer(given.host) if wanted is None else clean.remove(given.host, wanted))
        case "calibrate":
            from motley.trainer.verbs.calibrate import calibrate

            return calibrate(sys.stdin.buffer, sys.stdout)
        case "trial":
            from motley.trainer.verbs.trial import trial

            return trial(sys.stdin.buffer, sys.stdout)
        case "link":
            from motley.trainer.verbs import link as network

            if given.listen:
                return network.listen(given.listen, sys.stdin.buffer, sys.stdout)
            return network.connect(given.connect, given.port, sys.stdin.buffer, sys.stdout)
        case "status":
            from motley.trainer.verbs.status import status

            print_json({"runs": status(given.host)})
        case "stop":
            from motley.trainer.verbs.stop import stop

            print_json(stop(given.run, given.host, given.reason))
        case "lead":
            from motley.trainer.verbs.lead import lead

            print_json(lead(given.run, given.host, sys.stdin.buffer))
        case "roll":
            from motley.trainer.verbs.roll import change

            print_json(change(given.run, given.host, sys.stdin.buffer))
        case "checkpoint":
            from motley.trainer.verbs.checkpoint import checkpoint

            print_json(checkpoint(given.run, given.host, given.request))
        case "fetch":
            from motley.trainer.verbs.files import fetch

            return fetch(given.run, given.host, given.file, sys.stdout.buffer)
        case "store":
            from motley.trainer.verbs.files import store

            return store(given.run, given.host, given.file, sys.stdin.buffer)
        case "prove":
            from motley.trainer.verbs.files import prove

            print_json(prove(given.run, given.host, given.file))
        case "export":
            from motley.trainer.verbs.export import export

            return export(
                given.run, given.host, given.format, given.file, inside=given.inside, stdin=sys.stdin.buffer,
                merge=given.merge,
            )  # fmt: skip
        case "verify":
            if given.inside:
                from motley.trainer.verify.__main__ import main as computed

                return computed()
            from motley.trainer.verbs.verify import verify

            return verify(given.run, given.host, sys.stdin.buffer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
