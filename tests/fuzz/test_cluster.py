"""Whatever stands in the file or on the command line: a `Cluster`, or a `ConfigError` that can be shown."""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.config.sections import SECTIONS
from motley.remote.errors import ConfigError
from motley.remote.hosts.pool import python_of
from motley.remote.sanitize import clean
from motley.remote.ssh.shell import login_line, there
from motley.trainer.contract.spec import RunOptions
from tests.fuzz.mutation import mutated, scratch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).resolve().parents[2]
RICH = """\
[cluster]
name = "night"
leader = "box1"
port = 29600
[defaults]
user = "alex"
python = "~/torch/bin/python"
env = { OMP_NUM_THREADS = "4", "NCCL_DEBUG" = 'INFO' }
[environment]
requirements = "requirements.txt"
wheels = "wheels"
[[hosts]]
name = "box1"
address = "192.168.1.20"
devices = ["cuda:0", 1]
identity = "~/.ssh/id_lab"
pass_env = ["HF_TOKEN"]
[[hosts]]
name = "box.2"
jump = "alex@gate:2222,inner"
max_batch = 64
[hosts.env]
GLOO_SOCKET_IFNAME = "eth0"
[[hosts]]
name = "demo"
connect = "demo"
speed = 0.25
requirements = ""
[run]
script = "train.py"
args = ["--lr", "0.1", "a b"]
[elastic]
min_hosts = 2
lost_after_s = 3
[data]
push = "pictures"
"""
OWN = """\
[[hosts]]
name = "box1"
[run]
task = "tasks/night.py:Night"
project = "."
[task]
width = 64
rates = [1e-3, 0.5]
"odd key" = { deep = true }
[[task.layers]]
name = "first"
"""
FILES = [RICH, OWN, *(path.read_text() for path in [TOP / "cluster.toml", *sorted(TOP.glob("examples/*.toml"))])]
MORE = [
    *("0x" + "f" * 400, "1e400", "9" * 5000, "[" * 60, "{ a = " * 30, "a." * 40, "1979-05-27T07:32:00Z", "07:32:00"),
    *("[[hosts]]\n", "[hosts]\n", "[run]\n", 'name = "box1"\n', "env.", 'task = "x"\n', '"""', "'''", "\ufeff", "#"),
]
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
    return st.dictionaries(st.sampled_from(names) | TEXTS if names else TEXTS, VALUES, max_size=5)


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
    if isinstance(value, date):
        return value.isoformat()
    return quoted(value) if isinstance(value, str) else str(value).lower()


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


ACTS = st.sampled_from(["put", "put", "take out", "move", "twice"])
PUT = VALUES | st.just(date(1979, 5, 27))


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A good file's table with up to three values in it replaced, taken out, put under another key, or said twice."""
    table: dict[str, Any] = copy.deepcopy(TABLES_OF_FILES[draw(st.integers(0, len(TABLES_OF_FILES) - 1))])
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(table))
        inner, key = places[draw(st.integers(0, len(places) - 1))]
        act = draw(ACTS)
        if act == "put":
            inner[key] = draw(PUT)
        elif act == "twice" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[key]))
        elif act == "move" and isinstance(inner, dict):
            other = places[draw(st.integers(0, len(places) - 1))][1] if draw(st.booleans()) else draw(TEXTS)
            inner[str(other)] = inner.pop(key)
        else:
            del inner[key]
        if not table:
            break
    return table


def _places(table: dict[str, Any] | list[Any]) -> Any:
    """Each table or list in it with each of its keys, from the top."""
    for key, value in list(table.items() if isinstance(table, dict) else enumerate(table)):
        yield table, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


TABLES_OF_FILES = [tomllib.loads(text) for text in FILES]


def outcome(content: bytes, overrides: list[str], only: list[str]) -> Cluster | ConfigError:
    with scratch() as folder:
        path = Path(folder, "cluster.toml")
        path.write_bytes(content)
        try:
            return load(path, overrides, only)
        except ConfigError as error:
            return error


def check(found: Cluster | ConfigError) -> None:
    """Each problem says where: in the file, or on the command line. A cluster that was taken can be put to use."""
    if isinstance(found, ConfigError):
        assert found.problems
        assert [clean(problem) for problem in found.problems] == list(found.problems)
        for problem in found.problems:
            where, _, what = problem.partition(": ")
            assert where.startswith(("cluster.toml", "--set ", "--only ")), problem
            assert what.strip(), problem
        return
    assert found.leader in [host.name for host in found.hosts]
    assert found.text.encode()
    assert json.loads(json.dumps(found.task, allow_nan=False)) == found.task
    assert found.own_task is not None or not found.task
    for host in found.hosts:
        assert login_line([python_of(host), "-m", "motley.trainer"]).encode()
        assert there(host, "true").isprintable()


def test_the_good_files_are_good() -> None:
    assert [type(outcome(text.encode(), [], [])) for text in FILES] == [Cluster] * len(FILES)
    tables = ["\n".join(f"{quoted(key)} = {toml(value)}" for key, value in table.items()) for table in TABLES_OF_FILES]
    assert [type(outcome(text.encode(), [], [])) for text in tables] == [Cluster] * len(FILES)


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes(content: bytes) -> None:
    check(outcome(content, [], []))


@given(mutated(st.sampled_from(FILES), [*PIECES, *MORE]))
def test_a_good_file_with_slips_of_the_keyboard(text: str) -> None:
    check(outcome(text.encode(errors="surrogatepass"), [], []))


@given(changed(), OVERRIDES)
def test_a_good_file_with_other_values(table: dict[str, Any], overrides: list[str]) -> None:
    check(outcome("\n".join(f"{quoted(key)} = {toml(value)}" for key, value in table.items()).encode(), overrides, []))


@given(TABLES, OVERRIDES, st.lists(TEXTS, max_size=1))
def test_any_values_under_any_keys(table: dict[str, Any], overrides: list[str], only: list[str]) -> None:
    content = "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in table.items())
    check(outcome(content.encode(), overrides, only))


@given(st.integers(1, 2**62), st.floats(1e-9, 1e9), st.integers(1, 5))
def test_valid_values_arrive_as_they_were_written(batch: int, rate: float, hosts: int) -> None:
    with scratch() as folder:
        path = Path(folder, "cluster.toml")
        rows = "".join(f'[[hosts]]\nname = "h{n}"\n' for n in range(hosts))
        path.write_text(f"{rows}[run]\nglobal_batch = {batch}\nlearning_rate = {rate!r}\n", encoding="utf-8")
        cluster = load(path)
    assert cluster.run == RunOptions(global_batch=batch, learning_rate=rate)
    assert len(cluster.hosts) == hosts
