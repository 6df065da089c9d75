"""Token rows that this host keeps: a second start with the same files, tokenizer and options has them without
tokenising again. They lie in `~/.motley/data/token-rows/`, one file for each, which `motley clean` lists as a data set.

>>> place = place_of(options, {"train": [Path("train.jsonl")]}, tokenizer)     # None: not worth it, or not to be known
>>> write(place, Kept([train, test], "3,990 rows …", identity), note)
>>> read(place).told
'3,990 rows …'

The name is a digest of all that rows follow from: what is in the files, the tokenizer's own text, the options, the
versions of the libraries and of this code. What is in a file is compared with the `identity` in it by who reads it, so
half a file is none. Nothing here fails a run: what can't be kept is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from motley.trainer.bootstrap import durable
from motley.trainer.host.paths import runs_folder
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows.chats import template_of
from motley.trainer.llm.rows.token_row import Tokenizer
from motley.trainer.llm.rows.token_rows import TokenRows
from motley.trainer.tasks.download import Note

LEAST_BYTES = 1 << 20  # of files: fewer are tokenised as quickly
MOST_BYTES = 2 << 30  # of all that is kept; the longest unused go first
SPARE_BYTES = 2 << 30  # of the disk are left to others
_STALE_S = 86400.0  # a file that is half written so long ago is nobody's any more
_PIECE = 1 << 20
_FORM = 1
_OF_ROWS = (
    "test_fraction",
    "format",
    "fields",
    "length",
    "packing",
    "loss_on",
    "system",
)  # options that they follow from
_DTYPES = {"ids": torch.int32, "learned": torch.bool, "parts": torch.int64, "bounds": torch.int64}


@dataclass(frozen=True, slots=True)
class Kept:
    data: Sequence[TokenRows]  # what is trained on, then what is held out
    told: str
    identity: Mapping[str, str]


def place_of(options: Options, files: Mapping[str, Sequence[Path]], tokenizer: Tokenizer) -> Path | None:
    """`files`: of each key of `[task]` that names some. None where they are small or can't be read, and where what the
    tokenizer does is more than its text says: code that comes with a model, and tokenizers without a text."""
    text = getattr(getattr(tokenizer, "backend_tokenizer", None), "to_str", None)
    if text is None or options.trust_remote_code:
        return None
    try:
        if sum(path.stat().st_size for paths in files.values() for path in paths) < LEAST_BYTES:
            return None
        contents = {key: [[path.suffix.lower(), _digest_of(path)] for path in paths] for key, paths in files.items()}
    except OSError:  # who reads the rows says which one, and why
        return None
    about = {
        "form": _FORM,
        "files": contents,
        "options": {name: getattr(options, name) for name in _OF_ROWS},
        "tokenizer": [
            type(tokenizer).__name__, text(), template_of(tokenizer),
            *(getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")),
        ],
        "versions": [_version(name) for name in ("tokenizers", "transformers", "jinja2", "pyarrow")],
        "code": [_digest_of(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }  # fmt: skip
    return _folder() / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def read(place: Path) -> Kept | None:
    """None where it is not there, or damaged: then it is removed."""
    try:
        with place.open("rb") as file:
            head = json.loads(file.readline())
            data = [_rows(file.read, table) for table in head["sets"]]
            if file.read(1):
                raise ValueError("it goes on")
        found = Kept(data, str(head["told"]), {str(name): str(word) for name, word in head["identity"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError):
        forget(place)
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # what is in use is removed last, here and by `motley clean`
        os.utime(place.parent)
    return found


def write(place: Path, kept: Kept, note: Note) -> None:
    """Whole or not at all. `note` hears why it can't be kept."""
    sets = [{name: _memory(getattr(rows, name)) for name in _DTYPES} for rows in kept.data]
    tables = [
        {"packs": rows.packs, **{name: len(memory) for name, memory in one.items()}}
        for rows, one in zip(kept.data, sets)
    ]
    head = json.dumps({"sets": tables, "told": kept.told, "identity": dict(kept.identity)}).encode() + b"\n"
    size = len(head) + sum(len(memory) for one in sets for memory in one.values())
    part = Path(durable.part_of(str(place)))
    try:
        place.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        _make_room(place, size)
        try:
            with part.open("wb") as file:
                file.write(head)
                for one in sets:
                    file.writelines(one.values())
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        note(f"the tokens are not kept for the next start: {error.strerror or error}", None)


def forget(place: Path) -> None:
    with contextlib.suppress(OSError):
        place.unlink()


def _folder() -> Path:
    return runs_folder().parent / "data" / "token-rows"


def _make_room(place: Path, size: int) -> None:
    """Raises OSError where there is none."""
    if size > MOST_BYTES:
        raise OSError(f"they are {size >> 20:,} MiB, and {MOST_BYTES >> 20:,} are kept at most")
    now, there = time.time(), list(_files(place.parent))
    for path, _, changed in there:
        if path.suffix == ".part" and now - changed > _STALE_S:
            forget(path)
    kept = sorted((one for one in there if one[0].suffix != ".part" and one[0] != place), key=lambda one: one[2])
    while kept and sum(bytes_ for _, bytes_, _ in kept) + size > MOST_BYTES:
        forget(kept.pop(0)[0])
    if (free := shutil.disk_usage(place.parent).free) < size + SPARE_BYTES:
        raise OSError(f"{free >> 20:,} MiB are free in {place.parent}")


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """With size in bytes, and when each was used last."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another rank has removed it
            found = path.lstat()
            yield path, found.st_size, found.st_mtime


def _memory(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().numpy()).cast("B") if tensor.numel() else memoryview(b"")


def _rows(take: Callable[[int], bytes], table: Mapping[str, int]) -> TokenRows:
    """Raises ValueError for less than the table says, and what torch raises for what is no tensor."""
    tensors = []
    for name, dtype in _DTYPES.items():
        content = bytearray(take(int(table[name])))
        if len(content) != table[name]:
            raise ValueError("it ends too soon")
        tensors.append(torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype))
    ids, learned, parts, bounds = tensors
    return TokenRows(ids, learned, parts, bounds, packs=bool(table["packs"]))


def _digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
