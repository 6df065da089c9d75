"""What a model answers is what its most likely tokens are, one by one, and asking changes nothing of its training."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from motley.trainer.llm.generation import Prompt, asked, greedy_answers, of_row
from motley.trainer.llm.perplexity import perplexity
from tests.libraries import word_llama


def by_hand(model: Any, ids: torch.Tensor, tokens: int, end: int) -> list[int]:
    """The most likely token, again and again, without a cache, until the end."""
    said: list[int] = []
    model.eval()
    with torch.no_grad():
        while len(said) < tokens and (not said or said[-1] != end):
            whole = torch.cat([ids, torch.tensor(said, dtype=torch.int64)])[None]
            said.append(int(model(input_ids=whole, use_cache=False).logits[0, -1].argmax()))
    model.train()
    return said


def as_told(tokenizer: Any, said: list[int], *ends: int) -> str:
    """The words of these tokens; a mark where none of the ends is among them."""
    text = str(tokenizer.decode(said, skip_special_tokens=True)).strip()
    return text if said[-1] in ends else f"{text} …"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_answer_is_the_most_likely_tokens_and_nothing_of_the_training_changes(dtype: torch.dtype) -> None:
    tokenizer = word_llama.tokenizer()
    model = word_llama.model(len(tokenizer), dtype=dtype)
    model.generation_config.do_sample, model.generation_config.temperature = True, 0.7  # as many models come
    model.model.layers[1].eval()  # a part that is not trained
    modes = [module.training for module in model.modules()]
    prompts = [asked(tokenizer, "what is a rank ?"), asked(tokenizer, "why so slow ?", system="one process")]
    drawn = torch.get_rng_state()
    found = greedy_answers(model, tokenizer, prompts, max_tokens=12)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [module.training for module in model.modules()] == modes
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert [prompt for prompt, _ in found] == ["what is a rank ?", "why so slow ?"]
    for prompt, (_, answer) in zip(prompts, found, strict=True):
        wanted = by_hand(model, prompt.ids, 12, end=3)
        assert answer == as_told(tokenizer, wanted, 3)
        assert answer
    assert found == greedy_answers(model, tokenizer, prompts, max_tokens=12)
    assert all(cut.endswith("…") for _, cut in greedy_answers(model, tokenizer, prompts, max_tokens=1))


def test_a_question_is_written_by_the_chat_template_and_without_one_as_it_is() -> None:
    tokenizer, plain = word_llama.tokenizer(), word_llama.tokenizer(template=None)
    ids = asked(tokenizer, "what is a rank ?", system="one process").ids.tolist()
    written = tokenizer.convert_ids_to_tokens(ids)
    assert written[:4] == ["<s>", "system", "one", "process"]
    assert written[-2:] == ["<s>", "assistant"]
    as_it_is = plain.convert_ids_to_tokens(asked(plain, "what is a rank ?").ids.tolist())
    assert " ".join(as_it_is) == "what is a rank ?"
    assert asked(plain, "").ids.tolist() == [2]  # it has to begin with something


def test_a_held_out_row_asks_what_stands_before_its_answer() -> None:
    tokenizer = word_llama.tokenizer()
    ids = torch.tensor(tokenizer("what is a rank ? one process")["input_ids"])
    question = {"input_ids": ids, "labels": torch.where(torch.arange(7) < 5, -100, ids)}
    assert of_row(tokenizer, question).ids.tolist() == ids[:5].tolist()
    text = {"input_ids": ids, "labels": ids}
    assert of_row(tokenizer, text).ids.tolist() == ids[:3].tolist()  # nothing in it is asked: its beginning
    packed = {name: torch.cat([value, value]) for name, value in question.items()}
    packed["segments"] = torch.tensor([0] * 7 + [1] * 7)
    assert of_row(tokenizer, packed).ids.tolist() == ids[:5].tolist()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_an_adapter_answers_too_and_any_of_the_model_s_ends_ends_it() -> None:
    from peft import LoraConfig, get_peft_model

    tokenizer = word_llama.tokenizer()
    base = word_llama.model(len(tokenizer))
    prompt = [asked(tokenizer, "what is a rank ?")]
    ((_, before),) = greedy_answers(base, tokenizer, prompt, max_tokens=12)
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.5))
    assert greedy_answers(model, tokenizer, prompt, max_tokens=12)[0][1] == before  # LoRA's B is 0
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, dtype=parameter.dtype))
    ((_, trained),) = greedy_answers(model, tokenizer, prompt, max_tokens=12)
    assert trained != before
    said = by_hand(model, prompt[0].ids, 12, end=3)
    model.generation_config.eos_token_id = [3, said[4]]  # such as the end of a turn
    ((_, ended),) = greedy_answers(model, tokenizer, prompt, max_tokens=12)
    assert ended == as_told(tokenizer, said[: said.index(said[4]) + 1], said[4])
    assert "…" not in ended


def test_a_prompt_that_is_too_long_keeps_its_end_and_time_that_is_over_ends_all() -> None:
    tokenizer = word_llama.tokenizer()
    model = word_llama.model(len(tokenizer))  # 64 positions
    long = Prompt("long", torch.randint(4, len(tokenizer), (200,), generator=torch.Generator().manual_seed(0)))
    ((_, answer),) = greedy_answers(model, tokenizer, [long], max_tokens=8)
    assert answer == as_told(tokenizer, by_hand(model, long.ids[-56:], 8, end=3), 3)
    assert greedy_answers(model, tokenizer, [long, long], max_tokens=8, within_s=0.0) == []


def test_perplexity_of_a_loss_that_has_blown_up_is_no_error() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(1e6) == float("inf")
