"""What `causal_lm` makes of a model: an adapter that alone learns, weights of 4 bits, packed rows; and what it says of
a model that it can't train."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.errors import TaskError
from motley.trainer.llm import libraries, quantised
from motley.trainer.llm.base_model import dtype_of, place_of
from motley.trainer.llm.causal_lm import CausalLM, unwrapped
from motley.trainer.llm.options import Options
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.tasks.task_module import new_model
from tests.libraries.tiny_llama import causal_lm, rows_of, with_some_adapter, write_llama, write_tokenizer, written_out

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"))


def batch_of(task: Any, rows: list[dict[str, Tensor]]) -> Any:
    return task.collate(rows)


def packed(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """All in one."""
    joined = {key: torch.cat([row[key] for row in rows]) for key in ("input_ids", "labels")}
    lengths = [len(row["input_ids"]) for row in rows]
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        **joined, "positions": positions, "segments": torch.repeat_interleave(torch.tensor(lengths)),
    }  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_loss_of_each_row_is_the_one_written_out(llama: Path, method: str) -> None:
    rows = rows_of(5)
    task: Any = causal_lm(llama, rows, dtype="float64", method=method, loss_chunk=4)
    model = task.model()
    with_some_adapter(model)
    batch = batch_of(task, rows)
    found = task.loss(task.forward(model, batch), batch)
    for loss, row in zip(found.tolist(), rows, strict=True):
        assert loss == pytest.approx(float(written_out(model, [row])[0].detach()), rel=1e-12)
    assert task.count(batch) == written_out(model, rows)[1]
    assert task._in_parts


def test_the_attention_of_rows_needs_no_plan_for_each_of_their_lengths(llama: Path) -> None:
    """cuDNN's would."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        causal_lm(llama, rows_of(2))
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
def test_packed_rows_learn_what_they_learn_unpacked(llama: Path, dtype: str, bound: float) -> None:
    """Two packs, the second shorter: its padding is a row of nothing."""
    rows = rows_of(7, seed=9)
    task: Any = causal_lm(llama, rows, dtype=dtype, packing=True)
    model = task.model()
    with_some_adapter(model)

    def learnt(batch: dict[str, Tensor]) -> tuple[float, Tensor]:
        loss = task.forward(model, batch).sum() / task.count(batch)
        found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        return float(loss.detach()), torch.cat([gradient.flatten() for gradient in found])

    loss, gradient = learnt(batch_of(task, rows))
    in_packs, its = learnt(batch_of(task, [packed(rows[:5]), packed(rows[5:])]))
    assert in_packs == pytest.approx(loss, rel=bound)
    assert float((its - gradient).norm() / gradient.norm()) < bound


def test_an_attention_that_takes_no_notice_of_packing_is_refused(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaModel

    plain = LlamaModel.forward

    def one_row(self: Any, **given: Any) -> Any:
        return plain(self, **{**given, "position_ids": None})

    monkeypatch.setattr(LlamaModel, "forward", one_row)
    with pytest.raises(TaskError, match="rows that are packed into one see each other. Set packing = false"):
        causal_lm(llama, packing=True).model()


@pytest.mark.parametrize(("dtype", "adapters"), [("bfloat16", "float32"), ("float64", "float64")])
def test_the_adapter_alone_learns(llama: Path, dtype: str, adapters: str) -> None:
    rows = rows_of(4)
    task: Any = causal_lm(llama, rows, dtype=dtype, lora_rank=3)
    model = new_model(task)
    assert model.training
    learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert learns
    assert all("lora_" in name and (".q_proj." in name or ".v_proj." in name) for name in learns)
    assert {str(p.dtype) for p in learns.values()} == {f"torch.{adapters}"}
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert {str(weight.dtype) for weight in frozen.values()} == {f"torch.{dtype}"}
    before = {name: p.detach().clone() for name, p in learns.items()}
    optimizer = make_optimizer(RunOptions(optimizer="adamw", learning_rate=0.01), model)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(learns)
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(task.forward(model, batch_of(task, rows)).sum() / 9)
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, frozen[name]) if name in frozen else not torch.equal(parameter, before[name])


def test_weights_of_4_bits_learn_by_their_adapter_on_a_cpu(llama: Path) -> None:
    rows = rows_of(4)
    try:
        quantised.check_four_bits(CPU, torch.float32)
    except TaskError as error:
        pytest.skip(f"no weights of 4 bits here: {error.cause}")
    task: Any = causal_lm(llama, rows, method="qlora", dtype="float32", run=RunOptions(optimizer="adamw"))
    model = new_model(task)
    with_some_adapter(model)
    kinds = {type(module).__name__ for module in unwrapped(model).model.layers.modules()}
    assert "Linear4bit" in kinds
    assert any(p.dtype == torch.uint8 for p in model.parameters())
    loss = task.forward(model, batch_of(task, rows)).sum()
    full: Any = causal_lm(llama, rows, dtype="float32")
    other = full.model()
    with_some_adapter(other)
    assert float(loss.detach()) == pytest.approx(
        float(full.forward(other, batch_of(full, rows)).sum().detach()), rel=0.1
    )
    torch.autograd.backward(loss)
    learns = [p for p in model.parameters() if p.requires_grad]
    assert learns
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in learns)
    make_optimizer(task.run, model).step()


def test_dropout_of_a_model_is_off(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    write_tokenizer(tmp_path)
    shape = GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64, attn_pdrop=0.5, resid_pdrop=0.5)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path)
    rows = rows_of(3)
    task: Any = causal_lm(tmp_path, rows, dtype="float64", lora_targets=["c_attn"])
    model, batch = task.model(), batch_of(task, rows)
    assert torch.equal(task.forward(model, batch), task.forward(model, batch))
    with pytest.raises(TaskError, match="no layer q_proj. Its linear layers are c_attn, c_proj, c_fc, lm_head"):
        causal_lm(tmp_path, rows).model()


def write_config(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "called"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "T5ForConditionalGeneration"),
        ({"model_type": "vit"}, "ViTConfig"),
    ],
)
def test_a_model_that_does_not_continue_text_is_named(tmp_path: Path, config: dict[str, Any], called: str) -> None:
    folder = write_config(tmp_path / "other", **config)
    task: Any = causal_lm(folder)
    with pytest.raises(TaskError, match=f"is no causal language model, but {called}. Take one that continues text"):
        task.train_data()


def test_a_model_that_is_not_whole_is_named(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(TaskError, match=r"tiny has no config.json. Name a folder that save_pretrained wrote"):
        causal_lm(tmp_path / "tiny").model()
    (tmp_path / "tiny" / "q4.gguf").touch()
    with pytest.raises(TaskError, match=r"q4.gguf in it is of llama.cpp's format, which can't be trained"):
        causal_lm(tmp_path / "tiny").model()
    (tmp_path / "tiny" / "config.json").write_text((llama / "config.json").read_text())
    with pytest.raises(TaskError, match=r"its weights can't be had: OSError.*See that the folder is whole"):
        causal_lm(tmp_path / "tiny").model()
    with pytest.raises(TaskError, match=r"there is no folder /nowhere on this host. Name one of the hub \(org/name\)"):
        causal_lm(Path("/nowhere")).model()


def test_where_a_model_is(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(model: str, data: Path | None = None) -> tuple[str, bool]:
        place = place_of(Options(model=model, train="a"), data)
        return place.name, place.local

    assert found("org/name") == ("org/name", False)
    assert found("gpt2", tmp_path) == ("gpt2", False)
    (tmp_path / "gpt2").symlink_to(llama)
    assert found("gpt2", tmp_path) == (str(tmp_path / "gpt2"), True)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found("~/gpt2") == (str(tmp_path / "gpt2"), True)
    with pytest.raises(TaskError, match=r"'a/b/c' is no name of the hub, and there is no \[data\] push or path"):
        found("a/b/c")
    with pytest.raises(TaskError, match="is no name of the hub, nor a folder in"):
        found("a/b/c", tmp_path)


def test_a_tokenizer_without_padding_takes_the_end_of_a_text_and_is_named_without_one(
    llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((llama / "config.json").read_text())
    write_tokenizer(tmp_path, pad_token="")
    assert causal_lm(tmp_path).tokenizer.pad_token_id == 1  # type: ignore[attr-defined]
    for file in tmp_path.glob("*token*"):
        file.unlink()
    write_tokenizer(tmp_path, pad_token="", eos_token="")
    with pytest.raises(TaskError, match=r"no token for padding, and none that ends a text. Give it one in its"):
        assert causal_lm(tmp_path).tokenizer  # type: ignore[attr-defined]


def test_a_tokenizer_of_another_model_is_named(tmp_path: Path) -> None:
    write_llama(tmp_path)
    tokenizer = write_tokenizer(tmp_path)
    tokenizer.add_tokens([f"word{number}" for number in range(40)])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TaskError, match=r"has 70 tokens, the model's embedding 64. Take the tokenizer that"):
        causal_lm(tmp_path).model()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lora_targets": ["q_proj", "qproj"]}, "no layer qproj. Its linear layers are q_proj, k_proj, v_proj, o_"),
        ({"lora_targets": []}, "lora_targets is empty"),
        ({"lora_targets": ["norm"]}, r"lora_targets: .*; or all-linear for all but the output's"),
    ],
)
def test_a_target_without_a_layer_is_named(llama: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        causal_lm(llama, **given).model()


def test_all_linear_layers_can_have_an_adapter(llama: Path) -> None:
    names = [name for name, p in causal_lm(llama, lora_targets=["all-linear"]).model().named_parameters()]
    assert {name.split(".")[-4] for name in names if "lora_A" in name} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "run", "said"),
    [
        ({"optimizer": "paged_adamw_8bit"}, {}, r"is for NVIDIA cards, and this rank computes on cpu. Set optimizer"),
        ({"method": "full", "dtype": "float16"}, {}, r"small steps would be rounded away. Leave dtype out"),
        ({"method": "qlora"}, {"ema": 0.9}, "run.ema: weights of 4 bits can't be averaged"),
        ({"method": "qlora", "dtype": "float64"}, {}, "4 bits are computed in at most 32"),
    ],
)
def test_what_does_not_go_together_is_named_when_the_task_is_made(
    llama: Path, given: dict[str, Any], run: dict[str, Any], said: str
) -> None:
    with pytest.raises(TaskError, match=said):
        causal_lm(llama, run=RunOptions(**run), **given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this card can")
def test_a_device_that_can_t_compute_with_4_bits_is_named() -> None:
    with pytest.raises(TaskError, match=r"can't compute with 4 bits on cuda here .*. Set method = \"lora\", or leave"):
        quantised.check_four_bits(torch.device("cuda"), torch.float32)


def test_a_library_that_is_missing_or_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError) as caught:
        libraries.imported("no_such_library", "a test")
    assert caught.value.cause == "there is no no_such_library on this host: a test needs no_such_library"
    pip = f"{sys.executable} -m pip install no_such_library"
    assert caught.value.remedy == f'[environment] packages = "llm" brings it; or {pip}'
    (tmp_path / "old_library.py").write_text("raise ImportError('wants numpy 1')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TaskError, match=r"old_library  can't be imported: ImportError: wants numpy 1"):
        libraries.imported("old_library", "a test")
    assert set(libraries.versions()) <= set(libraries.NAMES)


def test_frozen_weights_take_32_bits_on_a_cpu() -> None:
    assert dtype_of(Options(model="a", train="b"), [CPU]) == torch.float32
    assert dtype_of(Options(model="a", train="b", dtype="bfloat16"), [CPU]) == torch.bfloat16


def test_rows_come_from_the_data_and_what_is_told_of_them_is_heard(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "the cat sat on mat"}\n{"text": "the dog ran"}\n' * 2)
    (tmp_path / "test.jsonl").write_text('{"text": "the cat ran"}\n')
    heard: list[str] = []
    task = CausalLM(Options(model=str(llama), train="train.jsonl", test="test.jsonl"))
    task.data_path, task.note = tmp_path, lambda text, _fraction: heard.append(text)
    task.begin()
    assert (len(task.train_data()), len(task.test_data())) == (4, 1)
    assert task.train_data() is task.train_data()
    assert heard[0] == "importing transformers"
    assert task.rows.told in heard
    assert DataOptions().path is None
