"""Parameters of a task against its dataclass: lists become tuples, and what does not fit is named with its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from motley.trainer.contract.task_parameters import Misfit, options_of
from motley.trainer.llm.options import problems


@dataclass(frozen=True, kw_only=True)
class Options:
    model: str
    targets: tuple[str, ...] = ()
    sizes: list[int] | None = None
    names: list[str] = None  # type: ignore[assignment]


def test_a_list_becomes_a_tuple_where_the_field_is_one() -> None:
    found = options_of(Options, {"model": "a", "targets": ["q", "v"], "sizes": [1], "names": ["x"]}, "Night.Options")
    assert found == Options(model="a", targets=("q", "v"), sizes=[1], names=["x"])


@pytest.mark.parametrize(
    ("given", "key", "cause", "remedy"),
    [
        ({"model": "a", "targets": ["q", 3]}, "targets", "has 3 in it: Night.Options wants str", "Change it"),
        ({"model": "a", "targets": "q"}, "targets", "= 'q': Night.Options wants tuple", "Change it"),
        ({"model": "a", "names": 3}, "names", "= 3: Night.Options wants list", "Change it"),
        ({"model": 3}, "model", "= 3: Night.Options wants str", "Change it"),
        ({"modle": "a"}, "modle", "has no such parameter", "Did you mean model?"),
        ({}, "", "[task] lacks model", "no default"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], key: str, cause: str, remedy: str) -> None:
    with pytest.raises(Misfit) as caught:
        options_of(Options, given, "Night.Options")
    assert caught.value.key == key
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"method": "dora"}, [("method", "'dora': there is no such method; it is one of full, lora, qlora")]),
        ({"length": 1}, [("length", "1: must be at least 2; change it")]),
        ({"lenght": 9}, [("lenght", "causal_lm has no such parameter; did you mean length?")]),
    ],
)
def test_parameters_of_a_language_model_are_checked_without_torch(
    given: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    assert problems({"model": "gpt2", "train": "a.jsonl", **given}) == found
