"""`motley fetch`: what a run has left on its volume in Kubernetes, brought home."""

from __future__ import annotations

import asyncio
import sys

from motley.console.commands.json_output import print_data
from motley.remote.config.cluster import Cluster
from motley.remote.session.placed.fetch_volume import fetch as fetched


def fetch(cluster: Cluster, run: str, *, json: bool) -> int:
    """The folder goes to stdout; with `json` an object. Raises what `remote.session.placed.fetch_volume` does."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    found = asyncio.run(fetched(cluster, run, say))
    if json:
        print_data({"run": run, "folder": str(found.folder), "files": found.files, "bytes": found.bytes})
    else:
        print(f"'{run}': {found.files} files, {found.bytes / 1e6:.1f} MB", file=sys.stderr)
        print(found.folder)
    return 0
