"""A language model small enough for hosts of 0.2 cores, its tokenizer and rows of one length, written into a folder.

    >>> write(Path("llm"), rows=4_000)        # llm/model, llm/train.jsonl

A Llama of 4 layers of 192 with a vocabulary of 2,048, random weights; each row has 128 tokens.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

LENGTH, VOCABULARY = 128, 2_048


def write(folder: Path, *, rows: int) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<end>", *(f"w{number}" for number in range(VOCABULARY - 2))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    model = folder / "model"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", pad_token="<end>"
    ).save_pretrained(model)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=2 * LENGTH, tie_word_embeddings=True, eos_token_id=1,
        pad_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(model)
    chance = random.Random(0)
    with (folder / "train.jsonl").open("w") as file:
        for _ in range(rows):
            file.write(json.dumps({"text": " ".join(chance.choices(words[2:], k=LENGTH))}) + "\n")
