"""A tiny Llama from a config, trained by transformers' Trainer; with `report` its steps go by our callback alone."""

from __future__ import annotations

import os
import sys

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class Counting(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) + index) % 64
        return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=2, **size))
    reports = "report" in sys.argv
    callbacks = []
    if reports:
        import motley

        callbacks.append(motley.TransformersCallback())
    arguments = TrainingArguments(
        "out", max_steps=40, logging_steps=5, per_device_train_batch_size=4, use_cpu=True, save_strategy="no",
        report_to=[], disable_tqdm=reports,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=Counting(), callbacks=callbacks).train()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads now and then hang Python as it tidies up (docs/script.md, "How it ends")


if __name__ == "__main__":
    main()
