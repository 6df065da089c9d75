"""What a row of tokens costs, from the shape of the model alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from motley.trainer.llm.row_cost import Shape, row_cost, shape_of, tokens_per_pair

SMOLLM2 = SimpleNamespace(
    model_type="llama", hidden_size=576, num_hidden_layers=30, intermediate_size=1536, num_attention_heads=9,
    num_key_value_heads=3, head_dim=64, vocab_size=49152,
)  # fmt: skip
GPT2 = SimpleNamespace(
    model_type="gpt2", hidden_size=768, num_hidden_layers=12, n_inner=None, num_attention_heads=12, vocab_size=50257
)


def test_the_shape_is_read_from_a_configuration() -> None:
    assert shape_of(SMOLLM2) == Shape(
        layers=30, hidden=576, intermediate=1536, heads=9, kv_heads=3, head_size=64, vocabulary=49152
    )
    assert shape_of(GPT2) == Shape(
        layers=12, hidden=768, intermediate=3072, heads=12, kv_heads=12, head_size=64, vocabulary=50257, gated=False
    )
    assert shape_of(SimpleNamespace(text_config=SMOLLM2)) == shape_of(SMOLLM2)


def test_a_token_costs_its_linear_layers_and_the_head() -> None:
    """By hand: 2 x 106,954,752 of layers and 2 x 28,311,552 of the head, against 4 x 30 x 576 a pair."""
    shape = shape_of(SMOLLM2)
    of_layers = 30 * (576 * 576 * 2 + 576 * 192 * 2 + 3 * 576 * 1536)
    assert tokens_per_pair(shape) == round(2 * (of_layers + 576 * 49152) / (4 * 30 * 576)) == 3891


def test_what_is_frozen_costs_less_and_what_is_computed_twice_more() -> None:
    shape = shape_of(SMOLLM2)
    whole = tokens_per_pair(shape)
    frozen = tokens_per_pair(shape, frozen=True)
    assert frozen == pytest.approx(whole * 2 / 3, rel=1e-3)
    lora = tokens_per_pair(shape, frozen=True, adapted=("q_proj", "v_proj"), rank=16)
    assert frozen < lora < frozen * 1.02
    assert tokens_per_pair(shape, frozen=True, checkpointing=True) > frozen
    assert tokens_per_pair(shape, pairs=0.5) == pytest.approx(2 * whole, rel=1e-3)


def test_a_row_costs_its_tokens_and_its_pairs_in_whole_numbers() -> None:
    found = row_cost(torch.tensor([32, 2048], dtype=torch.int32), 3096)
    assert found.dtype == torch.int64
    assert found.tolist() == [32 * 3128, 2048 * 5144]
