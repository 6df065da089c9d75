"""What people run today: transformers' Trainer with peft under torchrun, each rank with the same batch.

    torchrun … trainer_peer.py FOLDER ROWS_A_RANK STEPS

The same model, rows, adapter and optimizer as `bench_lora.py` gives to Motley. Rank 0 writes the end of each step into
the file that MINIMAL_OUT names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments


class Ends(TrainerCallback):
    def on_step_end(self, *_: object, **__: object) -> None:
        if os.environ["RANK"] == "0":
            with Path(os.environ["MINIMAL_OUT"]).open("a") as file:
                file.write(json.dumps({"ends": [time.time()]}) + "\n")


def main(folder: Path, rows: int, steps: int) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    adapted = get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    )
    texts = [json.loads(line)["text"] for line in (folder / "train.jsonl").read_text().splitlines()]
    ids = tokenizer(texts)["input_ids"]
    arguments = TrainingArguments(
        output_dir="peer", per_device_train_batch_size=rows, max_steps=steps, learning_rate=2e-4, logging_steps=10_000,
        save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, dataloader_num_workers=0,
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in ids]
    Trainer(model=adapted, args=arguments, train_dataset=data, callbacks=[Ends()]).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser(), int(sys.argv[2]), int(sys.argv[3]))
