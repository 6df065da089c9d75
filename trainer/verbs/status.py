"""What runs a host knows of, and stopping one: the verbs `status`, `stop` and `fetch`. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from trainer import processes, trailer
from trainer.attach import state_of
from trainer.folders import read_json, run_folder, runs_folder, write_json
from trainer.journal import Journal
from trainer.lead import follow, lead_of
from trainer.spec import Lead, Spec
from trainer.start_up import container_of
from trainer.wire import END_STATES

KILL_BOUND_S = 15.0
LOOK_S, LOOK_SHARE = 0.02, 0.02  # between two looks: so long, and a share of the time that the stop has taken so far


def status(host: str | None = None) -> list[dict[str, Any]]:
    """One table a run folder, newest first; `host` leaves out those of other hosts that share this home."""
    runs = []
    counts: dict[str, Counter[str]] = {}  # of containers, by runtime
    for folder in runs_folder().glob("*/*"):
        if host is not None and folder.name != host:
            continue
        state = state_of(folder)
        if not state:
            continue
        lead = _lead(folder, state)
        summary = read_json(folder / "summary.json")
        runs.append(
            {
                "run": state["run"],
                "host": state["host"],
                "leader": lead.leader,
                "lead": dataclasses.asdict(lead),
                "state": state["state"],
                "cause": state.get("cause") or summary.get("cause"),
                "step": summary.get("steps"),
                "left": max(len(processes.tagged(folder)), _containers(folder, counts)),
                "layout": layout(read_json(folder / "spec.json"), read_json(folder / "roll.json")),
                "started": (folder / "spec.json").stat().st_mtime,
                "checkpoints": {
                    name: dataclasses.asdict(said) for name, said in trailer.listed(folder / "checkpoints").items()
                },
            }
        )
    return sorted(runs, key=lambda r: -r["started"])


def _containers(folder: Path, counts: dict[str, Counter[str]]) -> int:
    container = container_of(folder)
    if container is None:
        return 0
    from trainer import container_words, containers

    if container.runtime not in counts:
        counts[container.runtime] = containers.counts(container.runtime)
    return counts[container.runtime][container_words.tag_of(folder)]


def _lead(folder: Path, state: dict[str, Any]) -> Lead:
    try:
        return lead_of(folder, Spec.from_json((folder / "spec.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):  # of another version
        return Lead(term=0, leader=str(state["leader"]), address="", port=0, hosts=())


def lead(run: str, host: str, stdin: BinaryIO) -> dict[str, Any]:
    """Take notice of who leads the run: `stdin` is a `Lead` in JSON. The supervisor and the ranks look at it.

    Answers who leads it as far as this host knows now: the one it was told, or one of a term as high or higher.
    """
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    if follow(folder, spec, Lead.from_table(json.loads(stdin.read()))):
        wake(folder)
    return {"lead": dataclasses.asdict(lead_of(folder, spec))}


def wake(folder: Path) -> None:
    """Have the run's supervisor look around at once: a child's signal does that."""
    state = read_json(folder / "state.json")
    if processes.same_process(int(state.get("pid", 0)), int(state.get("start", 0)), str(state.get("boot_id"))):
        processes.send([int(state["pid"])], signal.SIGCHLD)


def layout(spec: dict[str, Any], roll: dict[str, Any]) -> dict[str, Any]:
    """Who takes part in a run, out of its spec and its roll: without the token and the environment."""
    options, dropped = spec.get("options", {}), roll.get("dropped", [])
    members = {m["member"]: m for m in (*spec.get("members", []), *roll.get("added", []))}
    return {
        "task": options.get("task"),
        "script": options.get("script"),
        "global_batch": options.get("global_batch"),
        "steps": options.get("steps"),
        "policy": spec.get("balance", {}).get("policy"),
        "members": [
            {**{k: members[n][k] for k in ("member", "host", "device")}, "dropped": members[n]["host"] in dropped}
            for n in sorted(members)
        ],
        "edition": [roll.get("term", 0), roll.get("edition", 0)],
        "emulated": spec.get("emulated"),
    }


def stop(run: str, host: str, reason: str) -> dict[str, Any]:
    """End everything of the run on this host and return `{"left": processes and containers still there, "state": …}`.

    A living supervisor is asked and waited for; where there is none, its leftovers are swept away here.
    """
    folder = run_folder(run, host)
    if not folder.is_dir():
        return {"left": 0, "state": "unknown"}
    state = state_of(folder)
    if state and state.get("state") not in END_STATES:
        spec = read_json(folder / "spec.json")
        grace_s = float(spec.get("options", {}).get("stop_grace_s", 10.0))
        write_json(folder / "stop.json", {"reason": reason, "time": time.time()})
        pid, start, boot = int(state["pid"]), int(state["start"]), str(state["boot_id"])
        if processes.same_process(pid, start, boot):
            os.kill(pid, signal.SIGTERM)
        asked = time.monotonic()
        deadline = asked + grace_s + KILL_BOUND_S
        while processes.same_process(pid, start, boot) and time.monotonic() < deadline:
            if read_json(folder / "state.json").get("state") in END_STATES and pid not in processes.tagged(folder):
                break  # the supervisor goes on with another run
            time.sleep(LOOK_S + LOOK_SHARE * (time.monotonic() - asked))
    left = processes.end(folder, grace_s=0.0)
    if container := container_of(folder):
        from trainer import containers

        journal = Journal(folder, host=host, source="stop")
        left += containers.end_of_run(container, folder, tell=lambda text: journal.write("note", text, "error"))
    state = read_json(folder / "state.json")
    if state and state.get("state") not in END_STATES:
        # The supervisor was gone already, or did not get to say so.
        write_json(folder / "state.json", {**state, "state": "stopped", "left": left, "time": time.time()})
        journal = Journal(folder, host=host, source="stop")
        journal.write("ended", f"stopped, {left} processes left", state="stopped", left=left)
        state["state"] = "stopped"
    return {"left": left, "state": state.get("state", "unknown")}


def fetch(run: str, host: str, name: str, stdout: BinaryIO) -> int:
    """Write one file of the run's folder to `stdout`. Returns 1 when it is not there or lies outside the folder."""
    folder = run_folder(run, host).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        print(f"no file {name} in {folder}", file=sys.stderr)
        return 1
    with path.open("rb") as file:
        shutil.copyfileobj(file, stdout)
    return 0


def store(run: str, host: str, name: str, stdin: BinaryIO) -> int:
    """Write `stdin` to `checkpoints/<name>` of a run's folder, whole or not at all: a checkpoint to go on from."""
    folder = run_folder(run, host) / "checkpoints"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    part = folder / f".{Path(name).name}.{os.getpid()}.part"
    with part.open("wb") as file:
        shutil.copyfileobj(stdin, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / Path(name).name)
    return 0


def print_json(table: object) -> None:
    print(json.dumps(table), flush=True)
