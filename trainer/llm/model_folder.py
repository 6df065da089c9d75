"""Where a model's files lie on this host: in a folder, or in the cache that the hub's library keeps. Nothing is asked
of the hub, and no library is imported: who has trained has them.

>>> folder = folder_of(options, data_path)
>>> sorted(tokenizer_files(folder))
['special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json']
"""

from __future__ import annotations

from pathlib import Path

from motley.trainer.llm.hub_cache import repository
from motley.trainer.llm.options import Options

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def folder_of(options: Options, data_path: Path | None) -> Path | None:
    """None where it is not here."""
    given = options.model
    if data_path is not None and (data_path / given).is_dir():
        return data_path / given
    if given.startswith(("/", "~", "./", "../")):
        folder = Path(given).expanduser()
        return folder if folder.is_dir() else None
    return _of_hub(given, options.revision or "main")


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """By name; empty where there is none. Raises OSError for what can't be read."""
    return {name: (folder / name).read_bytes() for name in TOKENIZER if (folder / name).is_file()}


def _of_hub(name: str, revision: str) -> Path | None:
    """The snapshot of a revision: a branch, a tag or a commit."""
    kept = repository(name)
    try:
        commit = (kept / "refs" / revision).read_text().strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    snapshot = kept / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None
