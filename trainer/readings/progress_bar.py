"""One state of a progress bar, as tqdm draws it, and Lightning and transformers with it.

    >>> read("Epoch 3:  40%|####      | 8/20 [00:04<00:06,  2.0it/s, v_num=0, train_loss=0.512]")
    Bar(name='Epoch #', at=8, total=20, begins=False, epoch=3.0, loss=0.512, doubt='')
    >>> read("Validation DataLoader 0: 100%|####| 3/3 [00:00<00:00, 9.0it/s]") is None
    True

The bars of what is no training are left out by their names: evaluations, what is fetched, read or prepared. A bar that
counts bytes, or in thousands, has no steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from motley.trainer.readings import logged_line
from motley.trainer.readings.said import number, whole

_COUNT = r"\d[\d,]{0,15}"
_WITH_TOTAL = re.compile(
    rf"\d{{1,3}}%\|[^|]*\|\s{{0,9}}(?P<at>{_COUNT})/(?P<total>{_COUNT})\s{{0,9}}\[(?P<rest>[^\]]*)\]"
)
_WITHOUT = re.compile(rf"(?<![\d,])(?P<at>{_COUNT})it \[(?P<rest>[^\]]*)\]")
_EPOCH = re.compile(r"\bepochs?\W*(\d+)", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_NO_TRAINING = re.compile(
    r"(?<![A-Za-z])(?:val|eval|test|predict|sanity|infer|generat|load|download|fetch|read|upload|sav|writ|extract|token|map|filter|cach"
    r"|shard|prepar|process|build|warm|split|collect|sampl|decod|encod|compil|quanti|convert|import|creat)",
    re.IGNORECASE,
)
_BYTES = re.compile(r"[kKMGT]?i?B/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`name` tells bars apart, with their numbers left out; `at` of `total` steps are done."""

    name: str
    at: int
    total: int | None
    begins: bool  # it was just put on the screen: its first state
    epoch: float | None
    loss: float | None
    doubt: str = ""


def apart(piece: str) -> tuple[str, str]:
    """A bar, and what was printed right behind it: a line that does not know of the bar. Either may be empty.

    >>> apart(" 50%|#  | 1/2 [00:01<00:01,  1.0it/s]step 1: loss 0.5")
    (' 50%|#  | 1/2 [00:01<00:01,  1.0it/s]', 'step 1: loss 0.5')
    """
    found = _found(piece)
    return (piece[: found.end()], piece[found.end() :]) if found is not None else ("", piece)


def _found(piece: str) -> re.Match[str] | None:
    return _WITH_TOTAL.search(piece) if "%|" in piece else _WITHOUT.search(piece) if "it [" in piece else None


def read(piece: str) -> Bar | None:
    """What the bar says that a piece of output is; None when there is none, or none of training."""
    found = _found(piece)
    if found is None or piece[found.end() :].strip() or _BYTES.search(found["rest"]):
        return None
    name = piece[: found.start()].strip().removesuffix(":")
    at, total = whole(found["at"]), whole(found.groupdict().get("total") or "")
    if at is None or len(name) > 80 or _NO_TRAINING.search(name):
        return None
    rest = found["rest"]
    told = logged_line.said(rest)
    epoch = _EPOCH.search(name)
    return Bar(
        name=_DIGITS.sub("#", name),
        at=at,
        total=total,
        begins=at == 0 or "<?" in rest or "?it/s" in rest,
        epoch=number(epoch[1]) if epoch else (told.epoch if told else None),
        loss=told.loss if told else None,
        doubt=told.doubt if told else "",
    )
