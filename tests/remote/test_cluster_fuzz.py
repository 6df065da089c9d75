"""Whatever stands in the file or on the command line: a `Cluster`, or a `ConfigError` that can be shown."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from remote.cluster import Cluster, load
from remote.errors import ConfigError
from remote.sanitize import clean
from remote.sections import SECTIONS
from trainer.spec import RunOptions

PIECES = [
    *(
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "\r\n",
        '"',
        '"""',
        "'",
        "'''",
        "#",
        "\\",
        " ",
        "\t",
        "\x00",
    ),
    *("hosts", "run", "env", "name", "port", "shares", "box1", "1", "-1", "0.5", "nan", "true", "1979-05-27"),
    *("[[hosts]]\n", 'name = "box1"\n', "[run]\n", "\ufeff", "é", "\u202e"),
]
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["box1", "auto", "demo", "static", "simple_cnn/digits", "10.0.0.1", "a.b"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.integers() | st.integers(0, 300) | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def keys(section: str) -> st.SearchStrategy[Any]:
    """A section with its own keys, mostly, and any values."""
    names = [field.name for field in dataclasses.fields(SECTIONS[section])]
    return st.dictionaries(st.sampled_from(names) | TEXTS, VALUES, max_size=5)


TABLES = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.lists(keys("hosts"), max_size=3) | VALUES,
        "other": VALUES,
        **{section: keys(section) for section in SECTIONS if section != "hosts"},
    },
)
OVERRIDES = st.lists(
    st.text(st.characters() | st.sampled_from("=.\udcff\n"), max_size=12)
    | st.builds(
        "{}.{}={}".format, st.sampled_from([*SECTIONS, "hosts.box1"]), st.sampled_from(["env.A", "port", "seed"]), TEXTS
    ),
    max_size=2,
)


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return quoted(value) if isinstance(value, str) else str(value).lower()


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def outcome(content: bytes, overrides: list[str], only: list[str]) -> Cluster | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cluster.toml")
        path.write_bytes(content)
        try:
            return load(path, overrides, only)
        except ConfigError as error:
            return error


def check(found: Cluster | ConfigError) -> None:
    if isinstance(found, ConfigError):
        assert found.problems
        assert [clean(problem) for problem in found.problems] == list(found.problems)
    else:
        assert found.leader in [host.name for host in found.hosts]
        assert found.text.encode()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes(content: bytes) -> None:
    check(outcome(content, [], []))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(TABLES, OVERRIDES, st.lists(TEXTS, max_size=1))
def test_any_values_under_any_keys(table: dict[str, Any], overrides: list[str], only: list[str]) -> None:
    content = "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in table.items())
    check(outcome(content.encode(), overrides, only))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 2**62), st.floats(1e-9, 1e9), st.integers(1, 5))
def test_valid_values_arrive_as_they_were_written(batch: int, rate: float, hosts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cluster.toml")
        rows = "".join(f'[[hosts]]\nname = "h{n}"\n' for n in range(hosts))
        path.write_text(f"{rows}[run]\nglobal_batch = {batch}\nlearning_rate = {rate!r}\n", encoding="utf-8")
        cluster = load(path)
    assert cluster.run == RunOptions(global_batch=batch, learning_rate=rate)
    assert len(cluster.hosts) == hosts
