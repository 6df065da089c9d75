"""An exported language model goes through peft and transformers themselves: an adapter, a merged one, a whole one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.remote.experiment.incoming_folder import IncomingFolder
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.llm import exported
from motley.trainer.llm.options import Options
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.tasks.task import Task
from motley.trainer.training import checkpoint
from tests.trainer.trained import spec_of, state, trained, write_events

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning")]  # peft's, of transformers
ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 300.0
TOKENS = torch.tensor([[1, 5, 9, 12]])


class Adapter(Task):
    """What travels of a model of peft's."""

    def travels(self, name: str) -> bool:
        return "lora_" in name


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its tokenizer, in a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *(f"w{n}" for n in range(61))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", model_input_names=["input_ids"]
    ).save_pretrained(folder)
    return folder


def adapted(base: Path) -> Any:
    """The model with an adapter that has learned something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(TOKENS).logits
    return found


def kept(home: Path, base: Path, options: Options, model: Any, task: Task) -> None:
    """A run of box0 that has left a checkpoint of the model."""
    own = OwnTask(tree="", module="motley.trainer.llm.causal_lm", name="CausalLM", parameters={"model": str(base)})
    folder = trained(home, spec_of("night", "box0", "causal_lm", own), {})
    local = LocalWeights.of(task, model)
    about = {**state(18, local.without(model.state_dict()), "causal_lm"), "local": dict(local.table)}
    checkpoint.save(folder / "checkpoints/final.pt", {**about, "metadata": exported.metadata(options)})
    write_events(folder, 18)


def export(home: Path, place: Path, *words: str, bare: bool = False) -> dict[str, Any]:
    """By the verb, as the console takes it. `bare`: by a Python that has none of the libraries."""
    without = "import sys; sys.modules.update(dict.fromkeys(('transformers', 'peft', 'safetensors'))); "
    code = (
        f"{without if bare else 'import sys; '}from motley.trainer.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "--run", "night", "--host", "box0", "--format", "folder", *words,
         "final.pt"],
        cwd=ROOT, capture_output=True, timeout=BOUND_S, check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    head, _, _ = done.stdout.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    if answer["ok"]:
        incoming = IncomingFolder(place, force=True)
        incoming.begin("box0")
        for start in range(0, len(done.stdout), 1000):
            incoming.take(done.stdout[start : start + 1000])
        assert not incoming.ended("box0", "")
        incoming.keep()
        incoming.close()
    return answer


def test_an_adapter_is_written_without_a_library_and_read_by_peft(
    home: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, options = adapted(base), Options(model=str(base), train="train.jsonl", lora_rank=4, lora_alpha=8)
    kept(home, base, options, model, Adapter())
    place = tmp_path / "adapter"
    answer = export(home, place, bare=True)
    assert (answer["ok"], answer["notes"]) == (True, []), answer
    assert {path.name for path in place.iterdir()} >= {
        "adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer.json", "tokenizer_config.json",
        "motley.json",
    }  # fmt: skip
    fresh = AutoModelForCausalLM.from_pretrained(base)
    assert not torch.allclose(logits(fresh), logits(model), atol=1e-3)
    again = PeftModel.from_pretrained(fresh, place)
    assert torch.equal(logits(again), logits(model))
    config, said = LoraConfig.from_pretrained(place), model.peft_config["default"]
    assert {*config.target_modules} == {*said.target_modules}
    assert (config.r, config.lora_alpha, config.base_model_name_or_path) == (4, 8, str(base))
    compared = said.to_dict().keys() - {"inference_mode", "target_modules"}
    assert {key: config.to_dict()[key] for key in compared} == {key: said.to_dict()[key] for key in compared}
    page = (ROOT / "docs/use-model.md").read_text(encoding="utf-8")
    snippet = next(
        text for text in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "peft" in text
    )
    for there, here in (("HuggingFaceTB/SmolLM2-135M-Instruct", str(base)), ("poet-adapter", str(place))):
        assert there in snippet
        snippet = snippet.replace(there, here)
    exec(snippet, {})
    assert capsys.readouterr().out.strip()
    assert AutoTokenizer.from_pretrained(place)("w1 w2")["input_ids"] == [4, 5]
    card = (place / "README.md").read_text()
    for said_there in (f"base_model: {json.dumps(str(base))}", "library_name: peft", "LoRA: rank 4, alpha 8, on q_proj",
                       "train.jsonl", "step 18", "0.5000, perplexity 1.65"):  # fmt: skip
        assert said_there in card, card


def test_a_merged_one_is_a_model_that_needs_nothing_else(home: Path, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, options = adapted(base), Options(model=str(base), train="train.jsonl", lora_rank=4, lora_alpha=8)
    kept(home, base, options, model, Adapter())
    answer = export(home, tmp_path / "whole", "--merge")
    assert answer["ok"], answer
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.allclose(logits(whole), logits(model), atol=1e-5)
    assert not [name for name in whole.state_dict() if "lora" in name]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    given = tokenizer("w1 w2", return_tensors="pt")
    said = whole.generate(given["input_ids"], max_new_tokens=5, do_sample=False, pad_token_id=2)
    assert said.shape[1] > 2
    assert "library_name: transformers" in (tmp_path / "whole/README.md").read_text()
    bare = export(home, tmp_path / "no", "--merge", bare=True)
    assert (bare["ok"], bare["damaged"]) == (False, False)
    assert bare["error"].endswith("writing a whole model needs transformers")
    assert bare["remedy"].startswith("Export it where a host that trained answers; or without --merge")


def test_an_adapter_is_merged_into_no_other_model(home: Path, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = adapted(base)
    other = AutoModelForCausalLM.from_pretrained(base)
    torch.nn.init.normal_(other.model.layers[1].mlp.up_proj.weight)
    other.save_pretrained(tmp_path / "other")
    options = Options(model=str(tmp_path / "other"), train="train.jsonl", lora_rank=4, lora_alpha=8)
    kept(home, tmp_path / "other", options, model, Adapter())
    answer = export(home, tmp_path / "whole", "--merge")
    assert not answer["ok"]
    assert "final.pt was trained on other weights than the model now begins with" in answer["error"]
    assert not (tmp_path / "whole").exists()


def test_one_that_was_trained_whole_is_written_whole(home: Path, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(9)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    options = Options(model=str(base), train="train.jsonl", method="full")
    kept(home, base, options, model, Task())
    answer = export(home, tmp_path / "whole")
    assert answer["ok"], answer
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(logits(again), logits(model))


def test_without_the_base_model_there_an_adapter_lacks_its_tokenizer_alone(
    home: Path, base: Path, tmp_path: Path
) -> None:
    options = Options(model="nobody/has-this", train="train.jsonl", lora_rank=4, lora_alpha=8)
    kept(home, base, options, adapted(base), Adapter())
    answer = export(home, tmp_path / "adapter", bare=True)
    assert answer["notes"] == [
        "the tokenizer is left out, as nobody/has-this is not there: it is the base model's, unchanged"
    ]
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()
