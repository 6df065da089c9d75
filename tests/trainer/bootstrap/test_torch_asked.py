"""What a host hears of a torch that is asked for its cards: the answer, or why there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from motley.trainer.bootstrap import gpus
from motley.trainer.bootstrap.gpus import torchs_cards
from motley.trainer.bootstrap.python_and_torch import torch_version


def python_that(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    script = folder / "python"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.ranks
def test_the_torch_of_this_machine_says_what_it_has() -> None:
    import torch

    said = torchs_cards()
    assert said["trouble"] == ""
    count = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    assert len(said["accelerators"]) == count


def test_what_it_says_besides_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [{"device": "xpu:0", "name": "Arc", "total_mib": 15_000}]
    python_that(tmp_path, monkeypatch, "echo a warning", f"echo 'motley:{json.dumps(cards)}'", "echo the end >&2")
    assert torchs_cards() == {"accelerators": cards, "trouble": ""}


def test_why_it_can_t_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_that(tmp_path, monkeypatch, "echo Traceback", "echo 'ImportError: libsycl.so.8: no such file'", "exit 1")
    assert torchs_cards() == {"accelerators": [], "trouble": "ImportError: libsycl.so.8: no such file"}


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_that(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(gpus, "TORCH_S", 0)
    trouble = "torch did not say within 0 s which cards there are"
    assert torchs_cards() == {"accelerators": [], "trouble": trouble}


@pytest.mark.parametrize(
    ("lines", "build"),
    [
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\nxpu: Optional[str] = None", "cuda 12.8"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.43482'", "hip 6.4.43482"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = '20250301'", "xpu 20250301"),
        ("cuda: Optional[str] = None", ""),
    ],
)
def test_what_a_torch_is_built_for(monkeypatch: pytest.MonkeyPatch, lines: str, build: str) -> None:
    monkeypatch.setattr(
        "motley.trainer.bootstrap.python_and_torch.version_file", lambda *_: f"__version__ = '2.13.0'\n{lines}\n"
    )
    assert torch_version() == ("2.13.0", build)
