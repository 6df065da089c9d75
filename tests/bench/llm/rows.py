"""A task whose rows cost `c L + L²`: a small decoder in plain torch, on rows of 32 to 2,048 tokens.

The rows follow a rule that can be learned: a token is, most of the time, a fixed function of the one before it. Runs by
itself too: `task = "rows.py"` in a cluster.toml beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import motley

UNCOUNTED = -100


class Block(nn.Module):
    """Attention in which every token sees itself and those before it, and an MLP."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, L, width] to the same."""
        query, key, value = self.attention(self.before_attention(hidden)).unsqueeze(1).chunk(3, dim=-1)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.output(seen.squeeze(1))
        found: Tensor = hidden + self.mlp(self.before_mlp(hidden))
        return found


class Decoder(nn.Module):
    def __init__(self, vocabulary: int, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, inner) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [n, L] to [n, L, vocabulary]."""
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden)
        found: Tensor = self.head(hidden)
        return found


class Rows(motley.Task):
    """Padded at the right, which needs no mask: what comes later is not seen."""

    @dataclass(frozen=True)
    class Options:
        rows: int = 1024
        shortest: int = 32
        longest: int = 2048
        width: int = 16
        inner: int = 512  # of the MLP
        layers: int = 1
        vocabulary: int = 64
        c: int = 500  # of the cost c L + L²
        by_work: bool = True  # false: shares are numbers of rows
        double: bool = False

    def lengths(self) -> Tensor:
        options, generator = self.options, torch.Generator().manual_seed(1)
        return torch.randint(options.shortest, options.longest + 1, (options.rows,), generator=generator)

    def work(self) -> Tensor | None:
        lengths = self.lengths()
        return lengths * (lengths + self.options.c) if self.options.by_work else None

    def model(self) -> nn.Module:
        options = self.options
        model = Decoder(options.vocabulary, options.width, options.inner, options.layers)
        return model.double() if options.double else model

    def train_data(self) -> Any:
        return [self.row(number, length) for number, length in enumerate(self.lengths().tolist())]

    def row(self, number: int, length: int) -> dict[str, Tensor]:
        """Tokens and labels: int64 [length] each."""
        generator = torch.Generator().manual_seed(number)
        drawn = torch.randint(0, self.options.vocabulary, (length,), generator=generator)
        tokens = drawn.clone()
        tokens[1::2] = (5 * drawn[: length - length % 2 : 2] + 1) % self.options.vocabulary
        labels = tokens.clone()
        labels[: 1 + number % 7] = UNCOUNTED  # rows have other numbers of tokens that count
        return {"tokens": tokens, "labels": labels}

    def collate(self, samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        pads = {"tokens": 0, "labels": UNCOUNTED}
        return {
            name: nn.utils.rnn.pad_sequence([row[name] for row in samples], batch_first=True, padding_value=pad)
            for name, pad in pads.items()
        }

    def cut(self, batch: dict[str, Tensor], length: int) -> dict[str, Tensor]:
        return {name: rows[:, :length] for name, rows in batch.items()}

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = model(batch["tokens"])
        return outputs

    def count(self, targets: dict[str, Tensor]) -> int:
        return int((targets["labels"][:, 1:] != UNCOUNTED).sum())

    def loss(self, outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Summed over the tokens of each row: [n]."""
        each = functional.cross_entropy(
            outputs[:, :-1].transpose(1, 2), targets["labels"][:, 1:], ignore_index=UNCOUNTED, reduction="none"
        )
        return each.sum(dim=1)
