"""What `make venv` installs is pinned by version and by content: requirements.lock, and how `.ci/make-venv` uses it."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from motley.remote.preflight.judge import WITH_TORCH
from motley.remote.preflight.judge_language_models import OLDEST
from motley.remote.provision.package_list import text_of
from motley.trainer.bootstrap.python_and_torch import OF_LANGUAGE_MODELS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TO_TRAIN = PROJECT["project"]["optional-dependencies"]["train"]
GROUPS = PROJECT["dependency-groups"]
FOR_LLM = PROJECT["project"]["optional-dependencies"]["llm"]
WANTED = [
    *PROJECT["project"]["dependencies"],
    *TO_TRAIN,
    *FOR_LLM,
    *GROUPS["dev"],
    *GROUPS["libraries"],
    *GROUPS["llm-data"],
]
WANTED += ["pip"]
WITHOUT_HASH = {"torch"}  # its wheel may come from another index


def locked(text: str | None = None) -> list[tuple[Requirement, set[str]]]:
    """Each requirement of the lock, or of another list, with its hashes."""
    text = ((ROOT / "requirements.lock").read_text(encoding="utf-8") if text is None else text).replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    words = [line.partition(" --hash")[0] for line in lines]
    hashes = [set(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)) for line in lines]
    return [(Requirement(word), digests) for word, digests in zip(words, hashes)]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_all_that_is_asked_for_is_in_the_lock_once(python: str) -> None:
    here = {"python_version": python}
    names = [canonicalize_name(one.name) for one, _ in locked() if one.marker is None or one.marker.evaluate(here)]
    assert len(names) == len(set(names))
    wanted = [Requirement(one) for one in WANTED]
    assert {canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate(here)} <= set(
        names
    )


def test_every_release_but_torch_s_has_one_version_and_its_hashes() -> None:
    versions = {one.name: [(part.operator, part.version) for part in one.specifier] for one, _ in locked()}
    assert [name for name, parts in versions.items() if [operator for operator, _ in parts] != ["=="]] == []
    assert {one.name for one, hashes in locked() if not hashes} == WITHOUT_HASH


def test_the_versions_are_those_that_pyproject_allows() -> None:
    allowed = {canonicalize_name(one.name): one.specifier for one in map(Requirement, WANTED)}
    for one, _ in locked():
        (pin,) = one.specifier
        assert allowed.get(canonicalize_name(one.name), one.specifier).contains(pin.version), one


def of_hosts() -> list[tuple[Requirement, set[str]]]:
    return locked(text_of("llm"))


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_list_for_hosts_is_what_the_extra_needs_in_the_versions_of_the_lock_but_torch(python: str) -> None:
    here = {"python_version": python}
    names = [canonicalize_name(one.name) for one, _ in of_hosts() if one.marker is None or one.marker.evaluate(here)]
    assert len(names) == len(set(names))
    assert {canonicalize_name(Requirement(one).name) for one in FOR_LLM} <= set(names)
    of_torch = {"torch", "triton", "sympy", "mpmath", "networkx", "jinja2", "setuptools"}
    assert not of_torch & set(names)
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-"))]


def test_every_line_of_the_list_for_hosts_is_one_of_the_lock_with_all_its_hashes() -> None:
    ours = {(one.name, str(one.specifier)): hashes for one, hashes in locked()}
    assert {(one.name, str(one.specifier)): hashes for one, hashes in of_hosts()}.items() <= ours.items()


@pytest.mark.libraries
def test_the_list_for_hosts_needs_nothing_that_it_has_not_but_torch() -> None:
    """By the metadata of what is installed here, in the versions of the list."""
    pytest.importorskip("transformers")
    here = {canonicalize_name(one.name) for one, _ in of_hosts() if one.marker is None or one.marker.evaluate()}
    lacking = {}
    for name in here:
        needed = map(Requirement, importlib.metadata.requires(name) or [])
        of_it = {canonicalize_name(n.name) for n in needed if n.marker is None or n.marker.evaluate({"extra": ""})}
        if missing := of_it - here - {"torch"}:
            lacking[name] = missing
    assert lacking == {}


def test_what_the_check_asks_of_hosts_is_what_pyproject_allows() -> None:
    assert {name: f">={version}" for name, version in OLDEST.items()} == {
        one.name: str(one.specifier) for one in map(Requirement, FOR_LLM)
    }
    assert set(OF_LANGUAGE_MODELS) == {"pyarrow", *OLDEST} - {"datasets"}


def test_what_demo_hosts_train_with_is_an_extra_of_the_name_that_a_check_tells() -> None:
    told = Requirement(WITH_TORCH)
    assert (told.name, told.extras) == (PROJECT["project"]["name"], {"train"})
    to_train = {Requirement(one).name for one in TO_TRAIN}
    assert to_train == {"torch", "numpy"}
    assert not to_train & {Requirement(one).name for one in PROJECT["project"]["dependencies"]}


def test_the_dockerfile_has_the_same_torch_and_numpy_and_a_fixed_base() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    pins = {f"{one.name}=={part.version}" for one, _ in locked() for part in one.specifier}
    named = re.findall(r"\b(?:torch|numpy)==[\d.]+", text)
    assert {pin.partition("==")[0] for pin in named} == {"torch", "numpy"}
    assert set(named) <= pins
    assert re.search(r"^ARG BASE=(\S+:\d+\.\d+\.\d+-\S+|\S+@sha256:[0-9a-f]{64})$", text, re.MULTILINE)


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """The way in which .ci/make-venv calls pip, on a wheel that is not the one in the lock."""
    (call,) = re.findall(r"-m pip (install .*--require-hashes.*)", (ROOT / ".ci/make-venv").read_text(encoding="utf-8"))
    ((one, hashes),) = [(one, hashes) for one, hashes in locked() if one.name == "pathspec"]
    (pin,) = one.specifier
    (tmp_path / f"pathspec-{pin.version}-py3-none-any.whl").write_bytes(b"something else")
    listed = tmp_path / "requirements.txt"
    listed.write_text(" ".join([str(one), *(f"--hash=sha256:{digest}" for digest in hashes)]) + "\n")
    words = call.replace('"$hashed"', str(listed)).split()
    offline = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "into")]
    argv = [sys.executable, "-m", "pip", *words, *offline]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PIP_CONFIG_FILE": "/dev/null"})
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "into").exists()
