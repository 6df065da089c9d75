"""The verb `status`: what runs a host knows of, and how they are. Standard library only."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.script import name_of
from motley.trainer.contract.spec import Spec, resumed_from
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.host import processes
from motley.trainer.host.leader import lead_of
from motley.trainer.host.lock_and_spec import container_of
from motley.trainer.host.paths import read_json, runs_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.host.session_mark import is_session


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
                "rates": {key: value for key, value in summary.items() if key.endswith("_per_s")},
                "left": max(len(processes.tagged(folder)), _containers(folder, counts)),
                "layout": {
                    **layout(read_json(folder / "spec.json"), read_json(folder / "roll.json")),
                    "session": is_session(folder),
                },
                "started": (folder / "spec.json").stat().st_mtime,
                "checkpoints": {
                    name: dataclasses.asdict(said)
                    for name, said in checkpoint_trailer.listed(folder / "checkpoints").items()
                },
            }
        )
    return sorted(runs, key=lambda r: -r["started"])


def _containers(folder: Path, counts: dict[str, Counter[str]]) -> int:
    container = container_of(folder)
    if container is None:
        return 0
    from motley.trainer.supervisor import container_commands, containers

    if container.runtime not in counts:
        counts[container.runtime] = containers.counts(container.runtime)
    return counts[container.runtime][container_commands.tag_of(folder)]


def _lead(folder: Path, state: dict[str, Any]) -> Lead:
    try:
        return lead_of(folder, Spec.from_json((folder / "spec.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):  # of another version
        return Lead(term=FIRST, leader=str(state["leader"]), address="", port=0, hosts=())


def layout(spec: dict[str, Any], roll: dict[str, Any]) -> dict[str, Any]:
    """Who takes part in a run, out of its spec and its roll: without the token and the environment."""
    options, dropped = spec.get("options", {}), roll.get("dropped", [])
    members = {m["member"]: m for m in (*spec.get("members", []), *roll.get("added", []))}
    return {
        "task": options.get("task"),
        "script": name_of(
            script=options.get("script"), module=options.get("module"), command=options.get("command") or ()
        )
        or None,
        "global_batch": options.get("global_batch"),
        "steps": options.get("steps"),
        "resumed_from": resumed_from(spec.get("resume"), str(spec.get("resume_of") or "")),
        "policy": spec.get("balance", {}).get("policy"),
        "members": [
            {**{k: members[n][k] for k in ("member", "host", "device")}, "dropped": members[n]["host"] in dropped}
            for n in sorted(members)
        ],
        "edition": [*Term.of(roll.get("term", 0)), roll.get("edition", 0)],
        "emulated": spec.get("emulated"),
        "results": options.get("results_from") if options.get("results") else "",
        "machines": spec.get("machines") or {},
    }
