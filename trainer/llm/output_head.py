"""From a model's last hidden states to its logits, as the model itself does it: so they can be computed in parts.

Some models scale their logits (Cohere, Granite) or cap them (Gemma 2). Whether all of it is known here, the model is
asked, on random states in place of those that its layers compute: where its logits are others, they are computed by the
model, all at once.

    >>> head = head_of(model)
    >>> logits = head(hidden) if head is not None else model(input_ids).logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.llm import libraries


@dataclass(frozen=True, slots=True)
class OutputHead:
    """`embedding`, then a factor, then a soft cap."""

    embedding: nn.Module
    factor: float = 1.0
    cap: float | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """[k, d] to [k, vocabulary]."""
        logits: Tensor = self.embedding(hidden)
        if self.factor != 1.0:
            logits = logits * self.factor
        return torch.tanh(logits / self.cap) * self.cap if self.cap is not None else logits


def head_of(model: Any) -> OutputHead | None:
    """Of a causal model of transformers; None where it makes its logits in another way."""
    embedding, backbone = model.get_output_embeddings(), model.base_model
    if embedding is None or backbone is model:
        return None
    config = model.config.get_text_config()
    factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return OutputHead(embedding, factor, float(cap) if cap else None)


@torch.no_grad()
def is_its_own(head: OutputHead, model: Any) -> bool:
    """Whether the model's own logits are those of `head`. Its layers are not run."""
    output = libraries.transformers().modeling_outputs.MoeModelOutputWithPast  # has all that a model looks for
    weight, backbone = next(head.embedding.parameters()), model.base_model
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    random = torch.Generator().manual_seed(1)
    width = int(getattr(head.embedding, "in_features", None) or model.config.get_text_config().hidden_size)
    states = torch.randn(1, 3, width, generator=random).to(weight.device, dtype)
    backbone.forward = lambda *_, **__: output(last_hidden_state=states)
    try:
        ids = torch.zeros(1, 3, dtype=torch.int64, device=weight.device)
        own = model(input_ids=ids, use_cache=False).logits
        ours = head(states)
        return own.shape == ours.shape and torch.allclose(own.float(), ours.float(), rtol=1e-2, atol=1e-3)
    except Exception:  # noqa: BLE001 - a model that can't do without its layers' own output
        return False
    finally:
        del backbone.forward
