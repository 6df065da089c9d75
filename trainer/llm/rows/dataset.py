"""The rows of a run: read, made into tokens, cut, divided into training and held-out ones, packed.

    >>> rows = load_rows(options, task.data_path, tokenizer, note)
    >>> len(rows.train), rows.told
    (3990, '3,990 rows of 812,345 tokens to train on (401,222 learned), 210 held out; 31 rows were cut at 2,048 …')

The task calls it, in each rank. What it gives depends on the files, the options and the tokenizer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motley.trainer.errors import DataError
from motley.trainer.llm.options import Options
from motley.trainer.llm.rows import token_cache
from motley.trainer.llm.rows.files import data_files
from motley.trainer.llm.rows.formats import Sample, Shape, shape_of
from motley.trainer.llm.rows.identity import identity
from motley.trainer.llm.rows.packing import packed
from motley.trainer.llm.rows.records import records
from motley.trainer.llm.rows.token_row import Tokenizer, TokenRow, name_of
from motley.trainer.llm.rows.token_rows import TokenRows
from motley.trainer.llm.rows.tokenise import Lost, Tokeniser, cut
from motley.trainer.tasks.download import Note

_TOLD_EACH = 20_000  # rows that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    train: TokenRows
    test: TokenRows | None  # held out; never packed
    told: str  # one sentence
    identity: Mapping[str, str]  # what must be the same on all hosts: `Task.identity`


def load_rows(options: Options, data_path: Path | None, tokenizer: Tokenizer, note: Note) -> Rows:
    """`data_path`: the folder that `[data]` names, on this host. `note` hears how far it is. Rows of large files are
    those of an earlier start, where this host has them (`token_cache`).

    Raises DataError for files that are not there or hold something else, with file and line, and where nothing is left
    to train on; TaskError for options that do not go together.
    """
    names = {"train": options.train, "test": options.test}
    files = {key: data_files(name, data_path, key) for key, name in names.items() if name}
    place = token_cache.place_of(options, files, tokenizer)
    kept = token_cache.read(place) if place is not None else None
    if kept is not None and identity(tokenizer, kept.data) == kept.identity:
        note(f"the tokens of {options.train} are here from an earlier start", None)
        train, *held = kept.data
        return Rows(train=train, test=held[0] if held else None, told=kept.told, identity=kept.identity)
    rows = _made(options, files, tokenizer, note)
    if place is not None:
        data = [rows.train] if rows.test is None else [rows.train, rows.test]
        token_cache.write(place, token_cache.Kept(data, rows.told, rows.identity), note)
    return rows


def _made(options: Options, files: Mapping[str, Sequence[Path]], tokenizer: Tokenizer, note: Note) -> Rows:
    lost, tokeniser = Lost(), Tokeniser.of(tokenizer, options)
    samples, shape = _samples(options.train, files["train"], options, note)
    found = tokeniser.rows(samples, note, options.train)
    held: Sequence[TokenRow] = ()
    if options.test:
        others, _ = _samples(options.test, files["test"], options, note, shape)
        held = tokeniser.rows(others, note, options.test)
    else:
        out = held_out(len(found), options.test_fraction)
        held = [found[place] for place in sorted(out)]
        found = [row for place, row in enumerate(found) if place not in out]
    trained, tested = cut(found, options.length, lost), cut(held, options.length, lost)
    for kept, key, name in ((trained, "train", options.train), (tested, "test", options.test)):
        if name and not kept:
            raise DataError(
                f'[task] {key} = "{name}": none of its rows has a token to learn within the first {options.length:,}',
                'Raise [task] length, or look whether the rows have answers; loss_on = "all" learns every token',
            )
    packs = packed([len(row) for row in trained], options.length) if options.packing else None
    train = TokenRows.of(trained, packs)
    test = TokenRows.of(tested) if tested else None
    return Rows(
        train=train, test=test,
        told=_told(train, len(trained), test, lost, options, tokeniser) + _told_twice(trained, tested),
        identity=identity(tokenizer, [train] if test is None else [train, test]),
    )  # fmt: skip


def held_out(count: int, fraction: float) -> set[int]:
    """Places of those of `count` rows that are not trained on: at least one of two, where there is a fraction.

    They are spread evenly over the rows: a file is often in order of topic, and the end of it is another topic.
    """
    some = min(count - 1, max(1, int(count * fraction))) if fraction > 0 and count > 1 else 0
    return {(2 * number + 1) * count // (2 * some) for number in range(some)}


def _samples(
    name: str, files: Sequence[Path], options: Options, note: Note, shape: Shape | None = None
) -> tuple[list[Sample], Shape]:
    """`shape`: what the rows must be; None: what the first one is."""
    found: list[Sample] = []
    for record in records(files):
        shape = shape or shape_of(record.fields, options, record.where)
        found.append(shape.sample(record))
        if len(found) % _TOLD_EACH == 0:
            note(f"reading {name}: {len(found):,} rows", None)
    assert shape is not None  # a file without a row is an error
    return found, shape


def _told(
    train: TokenRows, rows: int, test: TokenRows | None, lost: Lost, options: Options, tokeniser: Tokeniser
) -> str:
    said = f"{_rows(rows)} of {train.tokens:,} tokens to train on ({train.labels:,} learned)"
    if train.packs:
        full = train.tokens / (len(train) * options.length)
        said += f", packed into {len(train):,} of {options.length:,} ({full:.0%} full)"
    said += f", {_rows(len(test))} of {test.tokens:,} tokens held out" if test is not None else ", none held out"
    if lost.rows:
        said += f"; {_rows(lost.rows)} cut at {options.length:,} tokens, {lost.tokens:,} tokens lost"
    if lost.empty:
        said += f"; {_rows(lost.empty)} left out: nothing to learn in {'it' if lost.empty == 1 else 'them'}"
    if not tokeniser.end and tokeniser.chats is None:
        said += f"; {name_of(tokeniser.tokenizer)} has no token that ends a text: answers are not ended"
    return said


def _told_twice(trained: Sequence[TokenRow], held: Sequence[TokenRow]) -> str:
    """How many of the rows held out are trained on, too: what is said of them is no word on what was not seen."""
    tokens = {row.ids.tobytes() for row in held}
    tokens &= {ids for row in trained if (ids := row.ids.tobytes()) in tokens}
    count = sum(row.ids.tobytes() in tokens for row in held)
    return f"; {_rows(count)} held out that {'is' if count == 1 else 'are'} trained on, too" if count else ""


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
