"""Dataclasses that are quick to import, for what every process on a host loads at its start. Standard library only.

`dataclasses` writes each method of each class as source text and compiles it, at every start of every process: half a
millisecond a class, on a small board several. Here all classes share one set of methods, which look at the fields. Else
they are the same: `dataclasses.fields`, `replace` and `asdict` work, and type checkers see a dataclass.

    >>> @light_dataclass(frozen=True, slots=True, kw_only=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(x=1), Point(x=1) == Point(x=1, y=0)
    (Point(x=1, y=0), True)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as light_dataclass

__all__ = ["light_dataclass"]
_Class = TypeVar("_Class", bound=type)
_KIND = {"frozen": True, "slots": True, "kw_only": True}
_set = object.__setattr__


def _init(self: Any, /, **given: Any) -> None:
    """Raises TypeError for a field that is not there, and for one without a default that is not given."""
    try:
        for name, value in given.items():
            _set(self, name, value)
    except AttributeError:  # the class has slots
        raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}") from None
    fields = type(self).__dataclass_fields__
    if len(given) == len(fields):
        return
    missing = []
    for name, field in fields.items():
        if name in given:
            continue
        if field.default is not dataclasses.MISSING:
            _set(self, name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            _set(self, name, field.default_factory())
        else:
            missing.append(repr(name))
    if missing:
        words = f"required keyword-only argument{'s' * (len(missing) > 1)}: {' and '.join(missing)}"
        raise TypeError(f"{type(self).__name__}.__init__() missing {len(missing)} {words}")


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in type(self).__dataclass_fields__])


def _repr(self: Any) -> str:
    pairs = zip(type(self).__dataclass_fields__, _values(self), strict=True)
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _setattr(_self: Any, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _setstate(self: Any, state: tuple[Any, ...]) -> None:
    """For copies and pickles, which would set what is frozen."""
    for name, value in zip(type(self).__dataclass_fields__, state, strict=True):
        _set(self, name, value)


_METHODS: dict[str, Any] = {
    "__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash, "__setattr__": _setattr,
    "__delattr__": _delattr, "__getstate__": _values, "__setstate__": _setstate,
}  # fmt: skip

if not TYPE_CHECKING:

    def light_dataclass(**kind: bool) -> Callable[[_Class], _Class]:
        """The one kind there is, `_KIND`. That it is said keeps it readable where it is used."""
        if kind != _KIND:
            raise TypeError(f"a light dataclass is made with {_KIND} alone")

        def made(cls: _Class) -> _Class:
            for name, method in _METHODS.items():
                setattr(cls, name, method)
            return dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)

        return made
