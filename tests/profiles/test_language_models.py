"""How much memory a language model takes, and what is said of it. Against what torch takes: tests/libraries."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from motley.profiles.language_models.fit import longest, needed_mib, told
from motley.profiles.language_models.memory import AVERAGES, DTYPES, METHODS, Architecture, Training, needed
from motley.trainer.llm import options

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip
SMOLLM = {
    "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}
ON_A_CARD = Training(weight_bytes=2)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(LLAMA_8B, 8_030_261_248), (SMOLLM, 134_515_008), ({"text_config": SMOLLM, "vocab_size": 1}, 134_515_008)],
)
def test_the_weights_are_those_of_the_models_that_there_are(config: dict[str, Any], parameters: int) -> None:
    assert Architecture.of(config).parameters == parameters


def test_another_family_is_known_but_for_its_biases_and_positions() -> None:
    assert Architecture.of(GPT2).parameters == pytest.approx(124_439_808, rel=0.01)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"hidden_size": "4096"}, "no hidden_size"),
        ({"num_hidden_layers": 0, "vocab_size": True}, "no num_hidden_layers and no vocab_size"),
        ({"num_local_experts": 8}, "mixture of experts"),
    ],
)
def test_a_config_that_does_not_say_it_is_refused_with_what_is_lacking(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Architecture.of({**LLAMA_8B, **change})


def test_what_travels_between_hosts_is_what_the_adapter_takes() -> None:
    """LoRA of rank 16 on queries and values of an 8 B model: 6.8 million numbers, 27 MB."""
    found = needed(Architecture.of(LLAMA_8B), ON_A_CARD)
    assert found.adapter == 6_815_744 * 4
    assert found.optimizer == 2 * found.adapter


def test_each_way_to_take_less_takes_less_of_its_own_part_alone() -> None:
    model, plain = Architecture.of(LLAMA_8B), needed(Architecture.of(LLAMA_8B), ON_A_CARD)

    def changed(**change: Any) -> set[str]:
        other = needed(model, replace(ON_A_CARD, **change))
        values = dataclasses.asdict(plain), dataclasses.asdict(other)
        assert other.total < plain.total
        return {name for name in values[0] if values[1][name] < values[0][name]}

    assert changed(method="qlora") == {"weights"}
    assert changed(checkpointing=True) == {"activations"}
    assert changed(optimizer="adamw_8bit") == {"optimizer"}
    assert changed(loss_chunk=256) == {"logits"}
    assert changed(length=1024) == {"activations"}
    assert changed(length=512) == {"activations", "logits"}
    assert changed(rank=8) == {"adapter", "gradients", "optimizer", "activations"}


def test_what_is_said_of_a_card() -> None:
    model, qlora = Architecture.of(LLAMA_8B), replace(ON_A_CARD, method="qlora", checkpointing=True)
    small = Architecture.of(SMOLLM)
    assert told(small, ON_A_CARD, room_mib=7800) == "7.6 GiB free: LoRA fits at 1 x 2048, in 3.0 GiB"
    assert told(model, ON_A_CARD, room_mib=11800) == (
        "11.5 GiB free: LoRA does not fit, it needs 16.2 GiB for the shortest row; "
        "QLoRA with activation_checkpointing would fit at 1 x 2048"
    )
    assert told(model, qlora, room_mib=8000) == (
        "7.8 GiB free: QLoRA fits at 1 x 512, not at 1 x 2048; with loss_chunk = 256 it would fit at 1 x 2048"
    )
    assert told(model, qlora, room_mib=2000).endswith("for the shortest row; nor would anything else")
    assert told(small, ON_A_CARD, room_mib=2000) == (
        "2.0 GiB free: LoRA fits at 1 x 512, not at 1 x 2048; with activation_checkpointing it would fit at 1 x 2048"
    )


def test_the_longest_is_the_longest_of_those_tried() -> None:
    model = Architecture.of(SMOLLM)
    fits = longest(model, ON_A_CARD, 1500)
    assert 0 < fits < 2048
    assert needed_mib(model, replace(ON_A_CARD, length=fits)) <= 1500
    assert needed_mib(model, replace(ON_A_CARD, length=2 * fits)) > 1500


def test_the_keys_of_task_are_known_here_with_the_same_defaults() -> None:
    defaults = Training.of({}, precision="fp32", checkpointing=False, bf16=False)
    theirs = dataclasses.asdict(options.Options(model="m", train="t"))
    assert Training.of(theirs, precision="fp32", checkpointing=False, bf16=False) == defaults == Training()
    known = (set(METHODS), set(AVERAGES), {*DTYPES, "auto"})
    assert known == (set(options.METHODS), set(options.OPTIMIZERS), set(options.DTYPES))
    assert Training.of({}, precision="auto", checkpointing=True, bf16=True).weight_bytes == 2
    assert Training.of({"method": "full"}, precision="auto", checkpointing=True, bf16=True).weight_bytes == 4
    with pytest.raises(ValueError, match="is not known"):
        Training.of({"method": "dora"}, precision="fp32", checkpointing=False, bf16=False)
