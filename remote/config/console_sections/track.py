"""`[track]`: where the console writes the figures of a run besides its own files. `console.tracking` does it."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import Literal

from motley.remote.config import value_rules
from motley.trainer.contract.spec import option

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio", "aim")


def trackers_problem(names: tuple[str, ...]) -> str | None:
    for name in names:
        if name not in TRACKERS:
            near = difflib.get_close_matches(name, TRACKERS, n=1)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(TRACKERS)}"
            return f"has {json.dumps(name)}, which is no tracker that Motley knows; {known}"
    twice = [name for name in names if names.count(name) > 1]
    return f"names {twice[0]} twice" if twice else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackKeys:
    """`[track]`: the figures of a run in [trackers](trackers.md), too."""

    with_: tuple[str, ...] | None = option(
        None,
        'any of "tensorboard", "wandb", "mlflow", "trackio", "aim"; [] for none; by default tensorboard, where it is '
        "installed with Motley",
        check=trackers_problem,
    )
    project: str | None = option(
        None,
        "what the runs are gathered under there: wandb's and trackio's project, the experiment of mlflow and aim; by "
        "default the cluster's name",
        check=value_rules.name_problem,
    )
    wandb_mode: Literal["online", "offline"] | None = option(
        None, "by default what WANDB_MODE says, else online where wandb knows your key, else offline"
    )
