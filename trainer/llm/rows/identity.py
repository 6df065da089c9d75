"""What must be the same on all hosts, in digests: the tokenizer, the lengths of all rows, their tokens, their labels.

Other lengths would share out other work, and other tokens would train other rows, without a word. The version that
made them stands in brackets: it is told where two hosts differ, and two that make the same tokens may train together.

>>> identity(tokenizer, [rows.train, rows.test])
{'tokenizer': '3f2a71c09b4e (tokenizers 0.23.3)', 'token lengths': '91c0… (tokenizers 0.23.3)', …}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import metadata

from torch import Tensor

from motley.trainer.llm.rows.chats import template_of
from motley.trainer.llm.rows.token_row import Tokenizer
from motley.trainer.llm.rows.token_rows import TokenRows

_SHOWN = 12  # digits of a digest


def identity(tokenizer: Tokenizer, data: Sequence[TokenRows]) -> dict[str, str]:
    """`data`: what is trained on, then what is held out."""
    version = made_by(tokenizer)
    digests = {
        "tokenizer": tokenizer_digest(tokenizer),
        "token lengths": _digest(tensor for rows in data for tensor in (rows.parts, rows.bounds)),
        "tokens": _digest(rows.ids for rows in data),
        "labels": _digest(rows.learned for rows in data),
    }
    return {name: f"{digest[:_SHOWN]} ({version})" for name, digest in digests.items()}


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """Of its vocabulary, its special tokens and its chat template: not of its file, which each version of the library
    writes in its own way."""
    table = {
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "special": sorted(tokenizer.all_special_ids),
        "begin": getattr(tokenizer, "bos_token_id", None),
        "end": getattr(tokenizer, "eos_token_id", None),
        "template": template_of(tokenizer),
    }
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def made_by(tokenizer: Tokenizer) -> str:
    """The library that makes its tokens, and its version."""
    names = ("tokenizers",) if getattr(tokenizer, "is_fast", False) else ("sentencepiece", "transformers")
    for name in names:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return type(tokenizer).__name__


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.contiguous().numpy()).cast("B") if tensor.numel() else b"")
    return digest.hexdigest()
