"""What of a model of the hub is on this host already, and how its download gets on.

Each host fetches a model of the hub by itself, into its `HF_HOME`. Two ranks of one host don't fetch a file twice: the
hub's own library holds a lock for each (tests/libraries/test_hub.py), and the second finds it whole then. While it
waits it computes nothing, so what tells that it gets on is that there are more bytes, whoever fetches them.

    >>> with fetching(note, "HuggingFaceTB/SmolLM2-135M"):
    ...     AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M")
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motley.trainer.tasks.download import Note
from motley.trainer.tasks.included_task import said_beside

LOOK_S = 2.0  # between two looks


def cache() -> Path:
    """Where models of the hub are kept on this host, as its library has it."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or os.path.join(home, "hub")).expanduser()


def repository(name: str) -> Path:
    """The folder of a model in it."""
    return cache() / f"models--{name.replace('/', '--')}"


def fetched_bytes(name: str) -> int:
    """Of the model's files, with those that are not whole yet."""
    total = 0
    for file in repository(name).joinpath("blobs").glob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # it has got its own name meanwhile
            continue
    return total


@contextmanager
def fetching(note: Note, name: str, *, every_s: float = LOOK_S) -> Iterator[None]:
    """Say to `note` how much has come, as long as there is more at each look. Nothing where nothing has to come."""
    before = last = fetched_bytes(name)

    def text() -> str | None:
        nonlocal last
        earlier, last = last, fetched_bytes(name)
        return f"fetching {name} from the hub, {(last - before) / 2**20:,.0f} MiB so far" if last > earlier else None

    with said_beside(note, text, every_s=every_s):
        yield
