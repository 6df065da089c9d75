"""A Llama of two layers with a word tokenizer, made on the spot: what tests of language models begin with."""

from __future__ import annotations

from typing import Any

import torch

WORDS = "what is a rank ? one process of group why so slow because the network was an epoch pass over all data"
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


def tokenizer(*, template: str | None = TEMPLATE) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "<s>", "</s>", "user", "assistant", "system", *dict.fromkeys(WORDS.split())]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    found = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    found.chat_template = template
    return found


def model(vocabulary: int, *, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, pad_token_id=1, bos_token_id=2, eos_token_id=3,
        attention_dropout=0.5, **changes,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype).train()
