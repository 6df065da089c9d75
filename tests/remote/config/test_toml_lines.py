"""The line of a key is found however the file is written: the standard parser does not tell."""

from __future__ import annotations

import sys
from typing import Any

from motley.remote.config.toml_lines import KeyPath, key_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = '''\
# [run]  a comment is no table
title = "a # b = [c" # epochs = 1
"quoted.key" . 'other' = 1.5
day = 1979-05-27T07:32:00Z
[run] # epochs = 2
task = """
epochs = 3
[[hosts]] \\""" not the end \\
"""
path = \'\'\'
seed = 4
it's'\'\'\'
lists = [ # a
  [1,
   2], # ]
  {x = 3, y.z = [4]},
  "a]",
]
seed=5
[[hosts]]
name = "a"
env = { A = "}", "B.C" = '{' }
[hosts.more.keys]
deep = 1
[[ "hosts" ]]
name = "b"
[[hosts.parts]]
n = 1
[[hosts.parts]]
n = 2
[hosts.parts.sub]
m = 3
[tail]
last = inf'''


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every path that the real parser finds."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(found for key, item in items for found in paths(item, (*path, key)))} - {()}


def test_every_key_of_a_file_is_found_and_nothing_else() -> None:
    assert set(key_lines(TEXT)) == paths(tomllib.loads(TEXT))


def test_each_key_is_on_the_line_where_it_begins() -> None:
    lines = key_lines(TEXT)
    source = TEXT.split("\n")
    for path, start in {
        ("title",): "title",
        ("quoted.key", "other"): '"quoted.key"',
        ("run",): "[run]",
        ("run", "task"): "task",
        ("run", "path"): "path",
        ("run", "lists", 0, 1): "   2]",
        ("run", "lists", 1, "y", "z", 0): "  {x",
        ("run", "lists", 2): '  "a]"',
        ("run", "seed"): "seed=5",
        ("hosts",): "[[hosts]]",
        ("hosts", 0, "env", "B.C"): "env",
        ("hosts", 0, "more", "keys", "deep"): "deep",
        ("hosts", 1, "name"): 'name = "b"',
        ("hosts", 1, "parts", 1, "n"): "n = 2",
        ("hosts", 1, "parts", 1, "sub", "m"): "m = 3",
        ("tail", "last"): "last",
    }.items():
        assert source[lines[path] - 1].startswith(start), path


def test_lines_are_the_same_with_the_line_ends_of_windows() -> None:
    assert key_lines(TEXT.replace("\n", "\r\n")) == key_lines(TEXT)
