"""Which results of runs are on their hosts alone, so that `motley clean` does not take the only copy unsaid.

>>> await only_copies(verbs, Path("experiments"), "box1", kept)
{'night': OnlyCopies(count=3, bytes=8123456, paths=('out/last.pt', …))}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from motley.remote.answers import using
from motley.remote.experiment.results_folder import RESULTS, ResultsFolder
from motley.remote.rpc.clean import Kept
from motley.remote.rpc.results import lacking_results
from motley.remote.rpc.verbs import Verbs


@dataclass(frozen=True, slots=True)
class OnlyCopies:
    count: int
    bytes: int
    paths: tuple[str, ...]  # of the first few


async def only_copies(verbs: Verbs, experiments: Path, host: str, kept: Iterable[Kept]) -> dict[str, OnlyCopies]:
    """By run, of those among `kept`. Raises a HostError."""
    found = {}
    for item in kept:
        experiment = experiments / item.name
        if item.kind != "run" or not (item.results or (experiment / RESULTS / host).is_dir()):
            continue
        have = await asyncio.to_thread(ResultsFolder(experiment, host).have)
        answer = await lacking_results(verbs, host, item.name, json.dumps({"have": have, "most": 0}))
        with using(host, "results"):
            only = OnlyCopies(answer.whole("count"), answer.whole("bytes"), tuple(answer.texts("paths")))
        if only.count:
            found[item.name] = only
    return found
