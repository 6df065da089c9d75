"""LoRA with TRL's SFTTrainer, as it is written for torchrun today. Python 3.11 or newer.

Nothing in it knows of Motley: it is started on each host, watched, and its results come home. Shares are not balanced:
each card gets the same batch, the smallest sets its size and the slowest the pace of all.
"""

import os

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

data = os.path.join(os.environ.get("MOTLEY_DATA", "data"), "train.jsonl")


def as_chat(row):
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    return {"messages": turns}


rows = load_dataset("json", data_files=data, split="train")
rows = rows.map(as_chat, remove_columns=rows.column_names).train_test_split(test_size=0.1, seed=0)

sft = SFTTrainer(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    args=SFTConfig(
        output_dir="out",
        num_train_epochs=3,
        learning_rate=2e-4,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        max_length=2048,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        eval_strategy="epoch",
        report_to="none",
    ),
    train_dataset=rows["train"],
    eval_dataset=rows["test"],
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
)
sft.train()
sft.save_model("out/adapter")
