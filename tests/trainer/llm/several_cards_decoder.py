"""A decoder as libraries write them, small, with an adapter beside frozen weights: for tests of layers on two cards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, WORDS, LAYERS = 8, 20, 4


class Thin(nn.Module):
    """A frozen linear layer and two thin matrices that learn."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.down, self.up = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, WIDTH, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        learned: Tensor = self.base(states) + self.up(self.down(states))
        return learned


class Layer(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH).requires_grad_(False)
        self.mix, self.drop = Thin(), nn.Dropout(dropout)
        self.register_buffer("scale", torch.full((1,), 0.7))

    def forward(self, states: Tensor, *, rotary: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        cos, sin = rotary
        mixed = self.mix(self.norm(states)) * cos + states.flip(-1) * sin
        if mask is not None:
            mixed = mask @ mixed
        scale: Any = self.scale
        after: Tensor = states + self.drop(torch.tanh(mixed)) * scale
        return after


class Backbone(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH).requires_grad_(False)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH).requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        states = self.embed(ids)
        angles = torch.arange(ids.shape[1], device=ids.device, dtype=states.dtype)[:, None] / 7
        rotary = angles.cos(), angles.sin()
        for layer in self.layers:
            states = layer(states, rotary=rotary, mask=mask)
        found: Tensor = self.norm(states)
        return found


class Decoder(nn.Module):
    """Its head is its embedding."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.base_model = Backbone(dropout)
        self.head = nn.Linear(WIDTH, WORDS, bias=False).requires_grad_(False)
        self.head.weight = self.base_model.embed.weight
        self.double()
        self.config: Any = SimpleNamespace(get_text_config=lambda: SimpleNamespace(num_hidden_layers=LAYERS))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.base_model(ids, mask))
        return logits


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels and a mask: [3, 5], [3, 5], [5, 5]."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(0, WORDS, (3, 5), generator=draw)
    labels = torch.randint(0, WORDS, (3, 5), generator=draw)
    return ids, labels, torch.tril(torch.ones(5, 5, dtype=torch.float64)) / 5


def loss_of(model: nn.Module) -> Tensor:
    ids, labels, mask = batch()
    logits = model(ids, mask)
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
