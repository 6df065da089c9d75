"""What `motley plan` says of a language model: what fits into the memory of each host that was measured.

The model's sizes are in its config.json, which is here when the model is: in the folder of `[data] push`, in a folder
of this machine, or where this machine keeps what it has of the hub. Nothing is fetched.

    >>> what_fits(cluster, profiles)
    ['laptop cuda:0, 7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would fit at 1 x 2048']
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motley.profiles.language_models.fit import told
from motley.profiles.language_models.memory import Architecture, Training
from motley.profiles.store import Profile
from motley.remote.config.cluster import Cluster
from motley.remote.ssh.shell import motley
from motley.trainer.devices.names import is_gpu

MOST_BYTES = 1 << 20  # of a config.json


def what_fits(cluster: Cluster, profiles: Sequence[Profile]) -> list[str]:
    """A line for each device whose memory is known; nothing for another task."""
    if not cluster.is_language_model:
        return []
    model = str(cluster.task.get("model", ""))
    try:
        config = config_here(cluster, model)
        if config is None:
            check = motley(cluster, "check", "--train")
            return [f"what of {model} fits where is not known here, without its config.json; the hosts say it: {check}"]
        sizes = Architecture.of(config)
        hows = {bf16: _training(cluster, bf16=bf16) for bf16 in (False, True)}
    except (OSError, ValueError, TypeError) as error:
        return [f"what of {model} fits where is not known: {error}"]
    known = [p for p in profiles if p.free_mib]
    return [f"{p.host} {p.device}, {_of(p, sizes, hows[is_gpu(p.device)])}" for p in known]


def _of(profile: Profile, sizes: Architecture, how: Training) -> str:
    first, *more = profile.cards_mib or (profile.free_mib or 0,)
    return told(sizes, how, room_mib=first, more_mib=more)


def _training(cluster: Cluster, *, bf16: bool) -> Training:
    run = cluster.run
    return Training.of(cluster.task, precision=run.precision, checkpointing=run.activation_checkpointing, bf16=bf16)


def config_here(cluster: Cluster, model: str) -> Mapping[str, Any] | None:
    """The model's config.json; None where this machine has none. Raises OSError, ValueError for one that is damaged."""
    folder = cluster.path.absolute().parent
    pushed = [folder / os.path.expanduser(cluster.data.push) / model] if cluster.data.push is not None else []
    local = [Path(os.path.expanduser(model))] if model.startswith(("/", "~")) else []
    for place in (*pushed, *local, *_of_the_hub(model)):
        file = place / "config.json"
        if file.is_file():
            with file.open("rb") as opened:
                found = json.loads(opened.read(MOST_BYTES))
            if not isinstance(found, dict):
                raise ValueError(f"{file} is no table")
            return found
    return None


def _of_the_hub(name: str) -> list[Path]:
    """The versions of a model that transformers has fetched to this machine, the newest first."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    snapshots = Path(os.path.expanduser(home)) / "hub" / f"models--{name.replace('/', '--')}" / "snapshots"
    if not name or not snapshots.is_dir():
        return []
    return sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
