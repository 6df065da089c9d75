"""What a row of L tokens costs to train on: `c L + L²`, in whole numbers. c follows from the model's own shape.

>>> c = tokens_per_pair(shape_of(config), frozen=True, adapted=("q_proj", "v_proj"), rank=16)
>>> row_cost(torch.tensor([32, 2048]), c)
tensor([  100096, 10534912])

The unit is what one pair of positions costs in all layers of attention; c is how many of these one token costs in all
that is done token by token: the linear layers and the head.

Floating point operations of a forward pass, a multiplication and an addition counting as two (Narayanan et al. 2021,
Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, appendix; Hoffmann et al. 2022,
Training Compute-Optimal Large Language Models, appendix F). With n layers, hidden size d, h heads of size e, k of them
for keys and values, an MLP of size f with m matrices (3 where it has a gate, else 2) and a vocabulary of V:

    a token  n (2 d h e + 2 · 2 d k e + 2 h e d + m · 2 d f) + 2 d V        q, k and v, the output, the MLP; the head
    a pair   n (2 h e + 2 h e)                                              q kᵀ, and the weights times v

All L² pairs count, masked or not, as they do for a kernel that computes them all. One that leaves out what lies after
a token does half: say `pairs=0.5`. A backward pass takes twice as much as a forward pass: one product for the gradient
of the input, one for that of the weight. A frozen layer needs only the first. So with LoRA a token costs 2 of 3 parts
of its linear layers, and the small matrices that are trained in full; attention has no weights, and costs all 3. With
activation checkpointing all of the layers is computed forward once more. Norms, activations and the optimizer are left
out: they are a few per cent. What is dequantised is not counted either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Whose MLP has two matrices. All newer ones have a gate, which makes three.
_UNGATED = frozenset(
    {
        "gpt2",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "gpt_bigcode",
        "opt",
        "bloom",
        "falcon",
        "mpt",
        "phi",
        "starcoder2",
        "codegen",
    }
)
_FORWARD, _BY_INPUT, _BY_WEIGHT = 1, 1, 1  # products of a layer: itself, and the two of its backward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a decoder. `experts`: of its MLPs, as many as one token goes through."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    gated: bool = True
    experts: int = 1

    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer of a block, by the names that most models have for them."""
        wide, narrow = self.heads * self.head_size, self.kv_heads * self.head_size
        mlp = self.intermediate * self.experts
        gate = {"gate_proj": (self.hidden, mlp)} if self.gated else {}
        return {
            "q_proj": (self.hidden, wide), "k_proj": (self.hidden, narrow), "v_proj": (self.hidden, narrow),
            "o_proj": (wide, self.hidden), **gate, "up_proj": (self.hidden, mlp), "down_proj": (mlp, self.hidden),
        }  # fmt: skip


def shape_of(config: Any) -> Shape:
    """Of a model's configuration as transformers has it. Raises AttributeError where it is no decoder's."""
    text = getattr(config, "text_config", None) or config  # a model that sees has the decoder's apart
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    experts = int(getattr(text, "num_experts_per_tok", None) or 1)
    of_expert = getattr(text, "moe_intermediate_size", None)
    given = of_expert or getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    return Shape(
        layers=int(text.num_hidden_layers),
        hidden=hidden,
        intermediate=int(given or 4 * hidden),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=int(getattr(text, "head_dim", None) or hidden // heads),
        vocabulary=int(text.vocab_size),
        gated=getattr(text, "model_type", "") not in _UNGATED,
        experts=experts,
    )


def tokens_per_pair(
    shape: Shape,
    *,
    frozen: bool = False,
    adapted: Sequence[str] = (),
    rank: int = 0,
    checkpointing: bool = False,
    pairs: float = 1.0,
) -> int:
    """c of `c L + L²`, at least 1.

    `frozen`: weights of the model do not learn; `adapted`: names of linear layers that have matrices of `rank` beside
    them which do. `checkpointing`: the layers are computed twice. `pairs`: the part of all pairs that is computed.
    """
    again = _FORWARD if checkpointing else 0
    passes = _FORWARD + _BY_INPUT + (0 if frozen else _BY_WEIGHT)
    block = sum(2 * inputs * outputs for inputs, outputs in shape.linear().values()) * (passes + again)
    for name in adapted:
        inputs, outputs = shape.linear().get(name, (0, 0))
        block += 2 * rank * (inputs + outputs) * (_FORWARD + _BY_INPUT + _BY_WEIGHT + again)
    token = shape.layers * block + 2 * shape.hidden * shape.vocabulary * passes
    attention = 2 * 2 * shape.heads * shape.head_size * (_FORWARD + 2 * _BY_INPUT + again)  # both factors are inputs
    return max(1, round(token / (shape.layers * attention * pairs)))


def row_cost(lengths: Tensor, c: int) -> Tensor:
    """`c L + L²` of rows of these lengths in tokens: int64 [n], as `Task.work` wants it."""
    long = lengths.to(torch.int64)
    return long * (long + c)
