"""Rows as a batch, padded at the right to the longest of them.

>>> batch = collate([{"input_ids": tensor([5, 6]), "labels": tensor([-100, 6])}, ...], pad_id=0)
>>> batch["input_ids"].shape
torch.Size([2, 7])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MASKED = -100  # a label that does not count, as torch's cross_entropy has it
_PADDING = {"labels": MASKED, "segments": -1, "positions": 0}


def collate(rows: Sequence[Mapping[str, Tensor]], pad_id: int) -> dict[str, Tensor]:
    """Of each name in the rows int64 [n, Lmax]. Padding has the label -100 and the segment -1; as attention is causal
    and it stands at the end, no token sees it."""
    names = rows[0].keys()
    return {
        name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=_PADDING.get(name, pad_id))
        for name in names
    }
