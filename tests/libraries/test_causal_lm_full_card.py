"""A language model on a card that is full already: that is told as memory, and never as a damaged model."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.llm import libraries
from motley.trainer.tasks.task_module import new_model
from tests.libraries.tiny_llama import causal_lm, write_llama


def test_a_card_that_is_full_before_its_weights_are_there_is_no_damaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    task = causal_lm(write_llama(tmp_path / "tiny"))
    monkeypatch.setattr(libraries.transformers().AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory"):
        new_model(task)
