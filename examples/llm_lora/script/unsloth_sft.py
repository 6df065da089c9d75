"""QLoRA with unsloth, as it is written today: `[run] script = "script/unsloth_sft.py"`. NVIDIA's cards alone.

Nothing in it knows of Motley. Over several hosts each card gets the same batch, as with TRL, which it trains with.
"""

import os

from unsloth import FastLanguageModel  # first: it changes what comes after it  # isort: skip

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

model, tokenizer = FastLanguageModel.from_pretrained(
    "unsloth/SmolLM2-135M-Instruct",
    max_seq_length=2048,
    load_in_4bit=True,
    device_map={"": int(os.environ.get("LOCAL_RANK", "0"))},
)
model = FastLanguageModel.get_peft_model(
    model, r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], use_gradient_checkpointing="unsloth"
)


def as_text(row):
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    return {"text": tokenizer.apply_chat_template(turns, tokenize=False)}


data = os.path.join(os.environ.get("MOTLEY_DATA", "data"), "train.jsonl")
rows = load_dataset("json", data_files=data, split="train")
rows = rows.map(as_text, remove_columns=rows.column_names)

sft = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=rows,
    args=SFTConfig(
        output_dir="out",
        dataset_text_field="text",
        num_train_epochs=3,
        learning_rate=2e-4,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        optim="adamw_8bit",
        logging_steps=1,
        report_to="none",
    ),
)
sft.train()
model.save_pretrained("out/adapter")
