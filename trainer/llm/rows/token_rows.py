"""Token rows as a map-style Dataset over a few flat tensors: five bytes a token, pickled as quickly as they are copied.

>>> rows = TokenRows.of(token_rows, packs=packed(lengths, 2048))
>>> rows[0]["input_ids"].shape, len(rows), rows.lengths
(torch.Size([2040]), 612, tensor([2040, 2048, …]))
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from motley.trainer.llm.rows.batch import MASKED
from motley.trainer.llm.rows.token_row import TokenRow


class TokenRows:
    """`ids` int32 [tokens], `learned` bool [tokens]: all rows in a line. `parts` int64 [parts + 1]: where each row of
    the user's begins; `bounds` int64 [n + 1]: at which of these each row of this data set begins: the same without
    packing, which `packs` says."""

    def __init__(self, ids: Tensor, learned: Tensor, parts: Tensor, bounds: Tensor, *, packs: bool) -> None:
        self.ids, self.learned, self.parts, self.bounds, self.packs = ids, learned, parts, bounds, packs
        self.lengths = parts[bounds].diff()  # int64 [n]: tokens of each row

    @classmethod
    def of(cls, rows: Sequence[TokenRow], packs: Sequence[Sequence[int]] | None = None) -> TokenRows:
        """`packs`: which rows go together, each number once; None: each by itself."""
        groups: Sequence[Sequence[int]] = packs if packs is not None else [(number,) for number in range(len(rows))]
        ids, learned = array("i"), bytearray()
        for group in groups:
            for number in group:
                ids.extend(rows[number].ids)
                learned += b"\0" + rows[number].learned[1:]  # what is first follows from nothing
        order = [number for group in groups for number in group]
        return cls(
            torch.frombuffer(ids, dtype=torch.int32).clone() if ids else torch.empty(0, dtype=torch.int32),
            torch.frombuffer(learned, dtype=torch.bool).clone() if learned else torch.empty(0, dtype=torch.bool),
            _starts([len(rows[number]) for number in order]),
            _starts([len(group) for group in groups]),
            packs=packs is not None,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """`input_ids` and `labels` int64 [L], labels not shifted, -100 where they don't count; of packed rows
        `positions` and `segments` too, both from 0 in each row. Raises IndexError."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        first, last = self.bounds[number : number + 2].tolist()
        start, stop = self.parts[first].item(), self.parts[last].item()
        ids = self.ids[start:stop].long()
        row = {"input_ids": ids, "labels": ids.masked_fill(~self.learned[start:stop], MASKED)}
        if self.packs:
            parts = self.parts[first : last + 1]
            sizes = parts.diff()
            row["segments"] = torch.arange(last - first).repeat_interleave(sizes)
            row["positions"] = torch.arange(stop - start) - (parts[:-1] - start).repeat_interleave(sizes)
        return row

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> int:
        """That count, after the shift."""
        return int(self.learned.sum())


def _starts(sizes: Sequence[int]) -> Tensor:
    return torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)
