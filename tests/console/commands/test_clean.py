"""`motley clean` as people see it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from motley.console.commands import clean as command
from motley.console.commands.clean import clean, data, question, text
from motley.console.control import terminal_prompts
from motley.remote.config.load import load
from motley.remote.errors import HostError, Unreachable, UsageError
from motley.remote.provision.push_folder import amount
from motley.remote.rpc.clean import Kept, Removed
from tests.console.test_cli import ROOT


def kept(kind: str, name: str, count: int, used: str = "") -> Kept:
    return Kept(kind=kind, name=name, bytes=count, age_s=1e6, used=used)


NIGHTS = [kept("run", f"night-{n}", 300_000_000) for n in range(6)]
CODE = kept("code", "8f5a", 400_000, used="it is the one in use now")
FOUND: dict[str, Sequence[Kept] | HostError] = {
    "desktop": [*NIGHTS, CODE],
    "laptop": [CODE],
    "gone": Unreachable("gone", "no answer", "Switch it on."),
}
GOING = {"desktop": NIGHTS, "laptop": []}


def test_what_each_host_keeps_and_what_would_go() -> None:
    assert text(FOUND, GOING).splitlines() == [
        "desktop  6 runs       1.7 GiB  old: night-0, night-1, night-2, night-3 and 2 more",
        "desktop  1 code tree  391 KiB",
        "laptop   1 code tree  391 KiB",
    ]
    assert text({"laptop": []}, {"laptop": []}) == "the hosts keep nothing"
    asked = "Remove what is old (with their logs and checkpoints there), 1.7 GiB on 1 host?"
    assert question(GOING) == asked


def test_for_programs() -> None:
    desktop, laptop, gone = data(FOUND, GOING, {"desktop": Removed(1_800_000_000, ())})["hosts"]
    assert [item["old"] for item in desktop["items"]] == [True] * 6 + [False]
    assert (desktop["removed_bytes"], laptop["removed_bytes"]) == (1_800_000_000, 0)
    assert gone == {"name": "gone", "cause": "no answer", "remedy": "Switch it on."}


def test_without_a_terminal_nobody_can_be_asked() -> None:
    with pytest.raises(UsageError, match="say --yes to remove"):
        clean(load(ROOT / "cluster.toml"), older_days=7, yes=False, json=False)


@pytest.mark.parametrize(("typed", "goes"), [("", False), ("n\n", False), ("y\n", True)])
def test_only_a_yes_removes_and_the_end_of_the_input_is_none(
    typed: str, goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed: list[str] = []

    async def survey(*_: object) -> dict[str, Sequence[Kept]]:
        return {"box1": NIGHTS}

    async def remove(_verbs: object, host: str, items: Sequence[Kept]) -> Removed:
        removed.append(host)
        return Removed(sum(item.bytes for item in items), ())

    async def no_copies(*_: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr(terminal_prompts, "on_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    for name, stand_in in (("survey", survey), ("remove", remove), ("_only_copies", no_copies)):
        monkeypatch.setattr(command, name, stand_in)
    path = tmp_path / "cluster.toml"
    path.write_text('[[hosts]]\nname = "box1"\nconnect = "local"\n')
    assert clean(load(path), older_days=7, yes=False, json=False) == 0
    told = capsys.readouterr()
    assert removed == (["box1"] if goes else [])
    assert told.out.endswith("removed 1.7 GiB\n" if goes else "nothing was removed\n")
    assert "1.7 GiB on 1 host? [y/N]" in told.err
    assert "[y/N]" not in told.out


def test_sizes() -> None:
    assert (amount(0), amount(812), amount(8_123_456), amount(3 * 2**30)) == ("0 KiB", "1 KiB", "7.7 MiB", "3.0 GiB")
