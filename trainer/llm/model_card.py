"""The README.md of an exported language model: the form that the hub reads, with a base model, data and settings.

>>> print(card(options, {"run": "night", "step": 1200, "loss": 1.93}, whole=False))
---
base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"
…
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from motley.trainer.llm.options import Options

_ADAPTER = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, ".")
tokenizer = AutoTokenizer.from_pretrained({base})
```"""
_WHOLE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""


def card(options: Options, about: Mapping[str, Any], *, whole: bool) -> str:
    """`about`: what an export tells of a checkpoint, as far as it is known (`trainer.export.trained_model`)."""
    base = json.dumps(options.model, ensure_ascii=False)
    kind = "full" if options.method == "full" else options.method
    tags = [*(["lora"] if kind != "full" else []), "motley"]
    head = [
        "---", f"base_model: {base}", f"library_name: {'transformers' if whole else 'peft'}",
        "pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in tags), "---",
    ]  # fmt: skip
    run = str(about.get("run") or "A language model")
    merged = "with its adapter merged in" if whole else "an adapter"
    what = "trained whole" if kind == "full" else merged
    rows = [f"| {name} | {_plain(value)} |" for name, value in _rows(options, about)]
    usage = (_WHOLE if whole else _ADAPTER).format(base=base)
    told = ["", f"# {run}: {_plain(options.model)}, {what}", "", "| | |", "|---|---|", *rows, ""]
    return "\n".join([*head, *told, "Trained with Motley. So it is loaded, from this folder:", "", usage, ""])


def _rows(options: Options, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    revision = f", revision {options.revision}" if options.revision else ""
    rows = [("base model", f"{options.model}{revision}"), ("data", options.train)]
    if isinstance(about.get("data"), str):
        rows.append(("rows", about["data"]))
    rows.append(("method", _method(options)))
    packed = ", packed" if options.packing else ""
    rows.append(("rows of", f"at most {options.length:,} tokens{packed}; loss on {options.loss_on}"))
    where = f"step {about['step']}" if "step" in about else "unknown"
    rows.append(("trained to", f"{where}, {about['epoch']} epochs" if "epoch" in about else where))
    loss = about.get("loss")
    if isinstance(loss, (int, float)):
        held = options.test or f"{options.test_fraction:.0%} of {options.train}, spread evenly over it"
        perplexity = f", perplexity {math.exp(loss):.2f}" if loss < 20 else ""
        rows.append(("held-out loss", f"{loss:.4f}{perplexity}, on {held}"))
    if "motley" in about:
        rows.append(("Motley", str(about["motley"])))
    return rows


def _method(options: Options) -> str:
    if options.method == "full":
        return "all weights"
    frozen = "QLoRA, the base model in 4 bits (NF4)" if options.method == "qlora" else "LoRA"
    dropout = f", dropout {options.lora_dropout:g}" if options.lora_dropout else ""
    targets = ", ".join(options.lora_targets)
    return f"{frozen}: rank {options.lora_rank}, alpha {options.lora_alpha}{dropout}, on {targets}"


def _plain(text: str) -> str:
    """In a table of Markdown."""
    return " ".join(text.replace("|", "\\|").split())
