"""What a row is said to cost, against the operations that torch counts in a tiny Llama."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from motley.trainer.llm.row_cost import row_cost, shape_of, tokens_per_pair

pytestmark = pytest.mark.libraries

LENGTHS = (32, 128, 512)
TARGETS = ("q_proj", "v_proj")


def counted(*, lora: bool) -> tuple[list[int], object]:
    """Operations of a forward and backward pass of one row of each length, and the configuration.

    Without a fused kernel: torch's counter knows none of those for CPUs.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=384, max_position_embeddings=1024, attn_implementation="eager",
    )  # fmt: skip
    model: torch.nn.Module = LlamaForCausalLM(config)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS)))
    found = []
    for length in LENGTHS:
        ids = torch.randint(0, 384, (1, length))
        with FlopCounterMode(display=False) as counter:
            model(input_ids=ids, labels=ids).loss.backward()
        found.append(counter.get_total_flops())
    return found, config


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # which peft asks for
@pytest.mark.parametrize("lora", [False, True])
def test_the_cost_of_rows_is_that_of_their_counted_operations(lora: bool) -> None:
    flops, config = counted(lora=lora)
    shape = shape_of(config)
    c = tokens_per_pair(shape, frozen=lora, adapted=TARGETS if lora else (), rank=4 * lora)
    costs = row_cost(torch.tensor(LENGTHS), c).tolist()
    pair = shape.layers * 12 * shape.heads * shape.head_size
    for length, cost, found in zip(LENGTHS, costs, flops, strict=True):
        print(f"lora {lora}, {length} tokens: {found / (cost * pair):.3f} of what is said")
        assert found == pytest.approx(cost * pair, rel=0.06)
