"""A light dataclass does what `dataclasses.dataclass` makes of the same class, but for what it costs to import."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from motley.trainer.light_dataclass import light_dataclass


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """The fields of `Plain`."""

    name: str
    port: int
    rank: int = 0
    parts: tuple[int, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The fields of `Light`."""

    name: str
    port: int
    rank: int = 0
    parts: tuple[int, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}:{self.port}"


def test_values_and_defaults() -> None:
    light, plain = Light(name="box1", port=1), Plain(name="box1", port=1)
    assert dataclasses.asdict(light) == dataclasses.asdict(plain)
    assert repr(light) == repr(plain).replace("Plain", "Light")
    assert light.label == "box1:1"
    assert light.data is not Light(name="box1", port=1).data
    assert [f.name for f in dataclasses.fields(light)] == [f.name for f in dataclasses.fields(plain)]
    with pytest.raises(AttributeError):
        light.__dict__  # noqa: B018


@pytest.mark.parametrize("change", [lambda one: dataclasses.replace(one, rank=2), copy.copy, copy.deepcopy])
def test_copies(change: Callable[[Any], Any]) -> None:
    light, plain = Light(name="box1", port=1, data={"a": [1]}), Plain(name="box1", port=1, data={"a": [1]})
    assert dataclasses.asdict(change(light)) == dataclasses.asdict(change(plain))


def test_pickles() -> None:
    light = Light(name="box1", port=1, data={"a": [1]})
    assert pickle.loads(pickle.dumps(light)) == light


def test_equality_and_hash() -> None:
    assert Light(name="box1", port=1) == Light(name="box1", port=1, rank=0)
    assert Light(name="box1", port=1) != Light(name="box1", port=2)
    plain: object = Plain(name="box1", port=1)
    assert Light(name="box1", port=1) != plain
    with pytest.raises(TypeError, match="unhashable"):
        hash(Light(name="box1", port=1))  # of its table

    @light_dataclass(frozen=True, slots=True, kw_only=True)
    class Small:
        number: int

    assert len({Small(number=1), Small(number=1), Small(number=2)}) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"name": "box1"},
        {"rank": 3},
        {"name": "box1", "port": 1, "colour": "red"},
        {"name": "box1", "port": 1, "label": "red"},
        {"name": "box1", "colour": "red"},
    ],
)
def test_errors_are_those_of_a_dataclass(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as plain:
        Plain(**given)
    with pytest.raises(TypeError) as light:
        Light(**given)
    assert str(light.value) == str(plain.value).replace("Plain", "Light")


def test_it_is_frozen() -> None:
    light = Light(name="box1", port=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'port'"):
        light.port = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'port'"):
        del light.port
    assert light.port == 1


def test_there_is_one_kind() -> None:
    with pytest.raises(TypeError, match="light dataclass"):
        light_dataclass(frozen=True)
