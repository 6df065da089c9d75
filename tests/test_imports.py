"""Where the packages end: who may load what. Import-linter holds the static half (pyproject.toml); this half runs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LOADED_BY_HELP = """
import json, runpy, sys
sys.argv = ["motley", "--help"]
try:
    runpy.run_module("motley.console", run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "loaded": sorted(sys.modules)}))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line_never_imports_torch() -> None:
    done = python("-c", LOADED_BY_HELP)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["code"] in (0, None)
    assert "motley.remote" in report["loaded"]
    assert not {"torch", "numpy"} & set(report["loaded"])


@pytest.mark.parametrize(
    "module",
    [
        "motley.trainer.contract.wire",
        "motley.trainer.contract.spec",
        "motley.trainer.supervisor.supervisor",
        "motley.trainer.coordinator.task_coordinator",
        "motley.trainer.rank.task_rank",  # says hello before it imports torch
    ],
)
def test_what_starts_ranks_needs_the_standard_library_only(module: str) -> None:
    """-S leaves site-packages out: on a host whose torch is broken, the supervisor must still be able to say so."""
    done = python("-S", "-c", f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "trainer/bootstrap").glob("*.py")), ids=lambda path: path.stem)
def test_what_looks_at_a_host_needs_its_python_only(path: Path) -> None:
    """Nothing else of ours is there yet; and a Python that is too old must be able to say so."""
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
    done = python("-S", "-c", f"import motley.trainer.bootstrap.{path.stem}, sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    ours = [name for name in done.stdout.split() if name.partition(".")[0] == "motley"]
    assert f"motley.trainer.bootstrap.{path.stem}".removesuffix(".__init__") in ours
    assert all(name in ("motley", "motley.trainer") or name.startswith("motley.trainer.bootstrap") for name in ours)


@pytest.mark.parametrize("package", ["remote", "profiles"])
def test_no_module_of_it_imports_torch(package: str) -> None:
    modules = [
        "motley." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    done = python("-c", f"import sys, {', '.join(modules)}\nprint('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"]
