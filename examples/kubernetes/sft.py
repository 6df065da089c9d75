"""LoRA with TRL's SFTTrainer and Aim, by variables of the environment; nothing in it knows of Motley."""

import os

import torch
from aim.hugging_face import AimCallback
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

data = os.path.join(os.environ.get("MOTLEY_DATA", "data"), "train.jsonl")
leads = os.environ.get("RANK", "0") == "0"
tracked = leads and "AIM_REPO" in os.environ
callbacks = [AimCallback(repo=os.environ["AIM_REPO"], experiment="sft")] if tracked else []


def as_chat(row):
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    return {"messages": turns}


rows = load_dataset("json", data_files=data, split="train")
rows = rows.map(as_chat, remove_columns=rows.column_names)
output = os.environ.get("OUTPUT_DIR", "out")

sft = SFTTrainer(
    model=os.environ.get("MODEL", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    args=SFTConfig(
        output_dir=output,
        num_train_epochs=float(os.environ.get("EPOCHS", "3")),
        per_device_train_batch_size=int(os.environ.get("BATCH_SIZE", "1")),
        learning_rate=float(os.environ.get("LEARNING_RATE", "2e-4")),
        gradient_accumulation_steps=8,
        max_length=2048,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        report_to="none",
    ),
    train_dataset=rows,
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    callbacks=callbacks,
)
checkpoint = os.path.isdir(output) and any(name.startswith("checkpoint-") for name in os.listdir(output))
sft.train(resume_from_checkpoint=checkpoint or None)
sft.save_model(os.path.join(output, "adapter"))
