"""Logits in parts are those that a model makes itself, capped and scaled as it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.llm.output_head import head_of, is_its_own
from tests.libraries.tiny_llama import causal_lm, rows_of, write_llama, written_out


def scaled(kind: str) -> Any:
    """A tiny model whose logits are more than its last layer's."""
    import transformers

    shape = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip
    given = {
        "Gemma2": {"final_logit_softcapping": 0.1}, "Granite": {"logits_scaling": 7.0}, "Cohere": {"logit_scale": 0.3},
        "Llama": {},
    }[kind]  # fmt: skip
    torch.manual_seed(4)
    config = getattr(transformers, f"{kind}Config")(**shape, **given)
    return getattr(transformers, f"{kind}ForCausalLM")(config).double().eval()


@pytest.mark.parametrize("kind", ["Gemma2", "Granite", "Cohere"])
def test_logits_that_are_capped_or_scaled_are_so_in_parts_too(kind: str) -> None:
    model = scaled(kind)
    head = head_of(model)
    assert head is not None
    assert is_its_own(head, model)
    ids = torch.arange(6)[None]
    hidden = model.base_model(input_ids=ids).last_hidden_state
    assert torch.allclose(head(hidden), model(input_ids=ids).logits, rtol=1e-12)
    head = type(head)(head.embedding)  # without either
    assert not is_its_own(head, model)


def test_a_model_with_logits_of_another_kind_makes_them_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.forward

    def tilted(self: Any, *args: Any, **given: Any) -> Any:
        found = plain(self, *args, **given)
        found.logits = found.logits + torch.arange(64) / 7
        return found

    monkeypatch.setattr(LlamaForCausalLM, "forward", tilted)
    rows = rows_of(3)
    task: Any = causal_lm(write_llama(tmp_path), rows, dtype="float64")
    model = task.model()
    assert not task._in_parts
    found = task.forward(model, task.collate(rows)).sum()
    assert float(found.detach()) == pytest.approx(float(written_out(model, rows)[0].detach()), rel=1e-12)
