"""A line in which a script tells its loss: `step 100: loss 2.31`, a dictionary, JSON.

    >>> said("Step 100/1000, train loss: 2.31, val loss: 2.40")
    Said(step=100, total=1000, epoch=None, epochs=None, loss=2.31, doubt='')
    >>> said("{'loss': '2.303', 'grad_norm': '1.1', 'epoch': '0.5'}")       # as transformers' Trainer does
    Said(step=None, total=None, epoch=0.5, epochs=None, loss=2.303, doubt='')
    >>> said("epoch 3 of 10: loss 0.5").epochs
    10

A figure of an evaluation is none of training: `val_loss`, `eval/loss`, `test loss`. Where two figures bear the name of
the loss neither is believed, and where it is not a number that is said.
"""

from __future__ import annotations

import re

from motley.trainer.readings.said import NUMBER, Said, number, whole

# A script may print anything: each pattern begins at the border of a word and repeats a bounded number of times.
_LOSS = re.compile(
    rf"(?<![\w/.-])(?:train(?:ing)?[_/.-])?loss['\"]?\s{{0,3}}[:= ]\s{{0,3}}['\"]?(?P<value>{NUMBER})", re.IGNORECASE
)
_STEP = re.compile(
    r"\b(?:global[_ ]?step|step|iteration|iter)s?['\"]?\s{0,3}[:=#\[]?\s{0,3}(?P<step>\d[\d,_]{0,15})(?![\w.])"
    r"(?:\s{0,3}(?:/|of)\s{0,3}(?P<total>\d[\d,_]{0,15})(?![\w.]))?",
    re.IGNORECASE,
)
_EPOCH = re.compile(
    r"\bepoch['\"]?\s{0,3}[:=#\[]?\s{0,3}['\"]?(?P<epoch>\d{1,9}(?:\.\d{1,9})?)"
    r"(?:\s{0,3}(?:/|of)\s{0,3}(?P<epochs>\d{1,9})(?![\w.]))?",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"(?:^|[^A-Za-z])(?:val|valid|validation|eval|evaluation|test|dev|best|min|lowest)[^A-Za-z]{0,4}$", re.IGNORECASE
)
_BEFORE = 24  # characters before a name that may say that it is another one's


def said(line: str) -> Said | None:
    """What a line says; None when it names neither a loss nor a step with one."""
    if "loss" not in line.lower() or "train_runtime" in line:  # transformers' last line has the mean of all
        return None
    losses = [
        found["value"]
        for found in _LOSS.finditer(line)
        if not _OTHERS.search(line[max(0, found.start() - _BEFORE) : found.start()])
    ]
    if not losses:
        return None
    step, epoch = _STEP.search(line), _EPOCH.search(line)
    values = {number(text) for text in losses}
    doubt = ""
    if len(values) > 1:
        doubt = "two figures in one line are called loss"
    elif None in values:
        doubt = f"the loss is {losses[0][:12]}"
    return Said(
        step=whole(step["step"]) if step else None,
        total=whole(step["total"]) if step and step["total"] else None,
        epoch=number(epoch["epoch"]) if epoch else None,
        epochs=whole(epoch["epochs"]) if epoch and epoch["epochs"] else None,
        loss=None if doubt else values.pop(),
        doubt=doubt,
    )
