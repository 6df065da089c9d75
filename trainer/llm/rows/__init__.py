"""From the user's files to token rows: text, JSONL or parquet; questions, prompts, chats; which labels count.

Pure but for reading files. A tokenizer is passed in; nothing here imports transformers.
"""
