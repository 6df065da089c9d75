"""The verb `verify`: one step of a run computed again on this host, for who compares it with what the run wrote.

    python -m motley.trainer verify --run night --host box1

Standard input is one line of JSON, the request: what `trainer.verify.recomputed_step.recompute` takes, but
`checkpoints` [[name, sha256], …] in place of `checkpoint`; `pushed`: the run had its data pushed; `named`: `data` says
where it is here; `own`: the task is one of the user's own. The first line of the answer is `{"have": name or null}`:
which of the checkpoints is here, whole. Where none is, `{"name", "sha256", "bytes"}` and so many bytes are to follow.
Then come notes, and one `{"result": …}` or `{"error", "remedy"}`. It ends when standard input closes.

A host that took part in the run computes as it did then: by its Python or in its container, with the data and the
user's files that it has. The step is computed in a child (`trainer.verbs.attended_child`), on the CPU.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from motley.trainer.contract.spec import Spec
from motley.trainer.host.paths import run_folder
from motley.trainer.supervisor import containers
from motley.trainer.trials.own_folder import own_folder
from motley.trainer.verbs.attended_child import attended, label_of_child, saying
from motley.trainer.verbs.export import spec_in

SILENT_S = 900.0  # without a word of the child: a pass of a large model on a CPU
PART = 1 << 20
_ELSEWHERE = "Name a host that took part in the run"


class _Refused(Exception):
    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


class _Kept(NamedTuple):
    """A checkpoint as the run wrote it."""

    name: str
    sha256: str


def verify(run: str, host: str, stdin: BinaryIO, stdout: TextIO) -> int:
    """0 with a result, 1 without."""
    say = saying(stdout)
    try:
        request = json.loads(stdin.readline())
        wanted = [_Kept(Path(name).name, str(digest)) for name, digest in request["checkpoints"]]
    except (ValueError, TypeError, KeyError) as error:
        say({"error": f"it was asked for something it does not know: {error!r}", "remedy": "Report this"})
        return 1
    folder = run_folder(run, host)
    spec = spec_in(folder)
    try:
        with own_folder() as room:
            place = next((path for one in wanted if (path := _own(folder, one)) is not None), None)
            say({"have": place.name if place is not None else None})
            if wanted and place is None and (place := _given(stdin, room)) is None:
                return 1  # nobody waits any more
            asked = {**request, **_of_the_run(request, spec), "checkpoint": str(place) if place is not None else None}
            words = ["verify", "--run", run, "--host", host, "--inside"]
            return _computed(asked, words, spec, folder, room, stdin, stdout)
    except _Refused as error:
        say({"error": error.cause, "remedy": error.remedy})
    except OSError as error:
        say({"error": f"the checkpoint can't be read or written there: {error}", "remedy": "Make room on its disk"})
    return 1


def _computed(
    asked: Mapping[str, Any],
    words: list[str],
    spec: Spec | None,
    folder: Path,
    room: Path,
    stdin: BinaryIO,
    stdout: TextIO,
) -> int:
    label = label_of_child()
    runtime = spec.container.runtime if spec is not None and spec.container is not None else None
    python = spec.python if spec is not None and os.access(spec.python, os.X_OK) else ""
    argv = [python or sys.executable, "-m", "motley.trainer", *words]
    env: Mapping[str, str] = {**os.environ, **(spec.env if spec is not None else {})}
    if spec is not None and spec.container is not None:
        argv, env = containers.of_export(spec, folder, words, label=label, room=str(room))
    return attended(
        argv, env, json.dumps(asked), stdin, stdout, label=label, what="computing the step", runtime=runtime,
        silent_s=SILENT_S, clear=lambda: shutil.rmtree(room, ignore_errors=True),
    )  # fmt: skip


def _of_the_run(request: Mapping[str, Any], spec: Spec | None) -> dict[str, Any]:
    """What of the request is as the run had it on this host: where its data is, and a task of the user's own."""
    found: dict[str, Any] = {}
    if spec is not None and not request["named"]:
        found["data"] = {**dataclasses.asdict(spec.data), "workers": 0}
    elif request["pushed"] and not request["named"]:
        cause = "it took no part in the run, and has not the data that was pushed then"
        raise _Refused(cause, f"{_ELSEWHERE}, or with --data where it is there")
    if request["own"]:
        if spec is None or spec.own_task is None:
            cause = f"it took no part in the run, and has not the files of {request['options']['task']}"
            raise _Refused(cause, _ELSEWHERE)
        found["own_task"] = dataclasses.asdict(spec.own_task)
    return found


def _own(folder: Path, wanted: _Kept) -> Path | None:
    path = folder / "checkpoints" / wanted.name
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(PART):
                digest.update(part)
    except OSError:
        return None
    return path if digest.hexdigest() == wanted.sha256 else None


def _given(stdin: BinaryIO, room: Path) -> Path | None:
    """The checkpoint that comes; None where none does. Raises _Refused for one that is damaged, OSError."""
    head = json.loads(stdin.readline() or b"{}")
    if not head:
        return None
    place, digest, left = room / Path(head["name"]).name, hashlib.sha256(), int(head["bytes"])
    with place.open("wb") as file:
        while left and (part := stdin.read(min(left, PART))):
            file.write(part)
            digest.update(part)
            left -= len(part)
    if left:
        return None
    if digest.hexdigest() != head["sha256"]:
        raise _Refused(f"{place.name} came damaged", "Try again")
    return place
