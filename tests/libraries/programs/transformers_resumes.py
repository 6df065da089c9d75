"""A tiny Llama from a config, trained by transformers' Trainer, which saves it and goes on from its newest checkpoint.

With `waits` it stands still once step 10 is saved, and is stopped there.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers_trainer import Counting  # type: ignore[import-not-found]


class Tells(TrainerCallback):
    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        print(f"begins after step {state.global_step}", flush=True)

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if "waits" in sys.argv and state.global_step == 10:
            if state.is_world_process_zero:  # which saves: the others are here before it has
                print("saved step 10", flush=True)
            signal.pause()


def main() -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=2, **size))
    arguments = TrainingArguments(
        "out", max_steps=20, save_steps=10, logging_steps=5, per_device_train_batch_size=4, use_cpu=True, report_to=[]
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Counting(), callbacks=[Tells()])
    trainer.train(resume_from_checkpoint="MOTLEY_RESUME" in os.environ)
    print(f"ended at step {trainer.state.global_step}", flush=True)
    sys.stdout.flush()
    os._exit(0)  # gloo's threads now and then hang Python as it tidies up (docs/script.md, "How it ends")


if __name__ == "__main__":
    main()
