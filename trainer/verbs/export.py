"""The verb `export`: the weights of a checkpoint, with what they were trained as, in a file for others to read.

    python -m motley.trainer export --run night --host box1 --format safetensors epoch_3.pt

Standard output is one line of JSON, `{"ok": true, "bytes": N, "metadata": {…}, "notes": […]}`, then the N bytes of the
file; or `{"ok": false, "error", "remedy", "damaged"}`. With the format `folder` the line has `"files": [[name, bytes],
…]`, too, and the files follow in that order. `--merge`: together with the weights that every host has by itself.

Without the name of a checkpoint of the run one comes on standard input: a line of JSON with what is known of its
evaluation, then its bytes.

Reading a checkpoint takes torch: so it is done by the Python that trained, or in the container of the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from motley.trainer.contract.exported import FOLDER, evaluation_of
from motley.trainer.contract.spec import Spec
from motley.trainer.host.paths import read_json, run_folder, runs_folder


def export(
    run: str, host: str, form: str, file: str | None, *, inside: bool, stdin: BinaryIO, merge: bool = False
) -> int:
    """0 with a file, 1 without. What the user's code prints goes to standard error."""
    folder = run_folder(run, host)
    spec = spec_in(folder)
    if spec is not None and not inside:
        flags = ["--inside", *(["--merge"] if merge else [])]
        words = ["export", "--run", run, "--host", host, "--format", form, *flags, *([file] if file else [])]
        os.environ.update(spec.env)  # where the libraries of the run look for what they have fetched
        _become(spec, folder, words)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            with contextlib.ExitStack() as stack:
                return _answered(run, form, folder, file, spec, stdin, out, stack, merge)
        except ImportError as error:
            remedy = f"Run {sys.executable} -c 'import torch' there, and mend what it says"
            _say(out, {"ok": False, "error": f"{sys.executable} can't import torch: {error}", "remedy": remedy})
            return 1


def _answered(
    run: str,
    form: str,
    folder: Path,
    file: str | None,
    spec: Spec | None,
    stdin: BinaryIO,
    out: BinaryIO,
    stack: contextlib.ExitStack,
    merge: bool,
) -> int:
    """`stack` is left once all has been sent."""
    from motley.trainer.errors import CheckpointDamaged, CheckpointMissing, TrainerError
    from motley.trainer.export.trained_model import TrainedModel

    try:
        beside = _room_in(spec)
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="export-", dir=beside)))
        given: dict[str, Any] = {}
        path = folder / "checkpoints" / Path(file or "").name
        if not file:
            path, given = room / "given.pt", json.loads(stdin.readline())
            with path.open("wb") as copy:
                shutil.copyfileobj(stdin, copy)
        model = TrainedModel.read(path, spec)
        about = {"run": run, **(given or evaluation_of(folder, model.step))}
        listed: dict[str, Any] = {}
        if form == FOLDER:
            (room / "files").mkdir()
            table, pieces = model.folder(about, room / "files", merge=merge)
            size, listed = sum(size for _, size in table), {"files": table}
        else:
            size, pieces = model.file(form, about, merge=merge)
    except TrainerError as error:
        damaged = isinstance(error, (CheckpointDamaged, CheckpointMissing))
        _say(out, {"ok": False, "error": error.cause, "remedy": error.remedy, "damaged": damaged})
        return 1
    except OSError as error:
        remedy = "Make room on the disk there, or export on another host"
        _say(out, {"ok": False, "error": f"its checkpoint can't be read there: {error}", "remedy": remedy})
        return 1
    about = {"ok": True, "bytes": size, **listed, "metadata": model.metadata, "notes": list(model.notes)}
    _send(out, about, pieces)
    return 0


def spec_in(folder: Path) -> Spec | None:
    """None where the host knows no such run, or that of another version."""
    if not read_json(folder / "spec.json"):
        return None
    try:
        return Spec.from_json((folder / "spec.json").read_bytes())
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _room_in(spec: Spec | None) -> Path | None:
    """The folder for what is written meanwhile; None: the system's own. A run's container has a disk that goes with it:
    our folder is in memory there, made by the runtime, and not the user's to write to. Raises OSError."""
    if spec is not None and spec.container is not None:
        return None
    above = runs_folder()  # there is one where a run was; all that is ours on a host is beside it
    above.mkdir(parents=True, mode=0o700, exist_ok=True)
    return above.parent


def _become(spec: Spec, folder: Path, words: Sequence[str]) -> None:
    """Go on as what has the run's torch. Returns where that is this process."""
    if spec.container is not None:
        from motley.trainer.supervisor import containers

        argv, env = containers.of_export(spec, folder, words)
        os.execvpe(argv[0], argv, env)
    elif spec.python and spec.python != sys.executable and os.access(spec.python, os.X_OK):
        os.execv(spec.python, [spec.python, "-m", "motley.trainer", *words])


def _send(out: BinaryIO, table: Mapping[str, Any], pieces: Iterable[bytes | memoryview]) -> None:
    _say(out, table)
    out.writelines(pieces)
    out.flush()


def _say(out: BinaryIO, table: Mapping[str, Any]) -> None:
    out.write(json.dumps(table).encode() + b"\n")
    out.flush()
