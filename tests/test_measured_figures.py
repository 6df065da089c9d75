"""What pages give as measured is in the tables that were made by measuring, and not rounded to the better."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SILENT = ("power cut", "cable pulled", "host frozen")


def told(page: str) -> str:
    """In one line."""
    return " ".join((ROOT / page).read_text("utf-8").split())


def cell(page: str, row: str, column: int = -1) -> list[float]:
    """The numbers of a row's cell, by default the last one."""
    (line,) = re.findall(rf"^\| {re.escape(row)} \|.*\|$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    words = re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", line.strip("|").split("|")[column])
    return [float(word.replace(",", "")) for word in words]


def chaos(row: str, column: int = -1) -> list[float]:
    return cell("tests/lab/CHAOS.md", row, column)


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (
            "README.md",
            r"The pause is (?P<crash>[\d.]+) s when it crashed, (?P<silent>[\d.]+) s when it fell silent "
            r"\(medians; (?P<most>[\d.]+) s at most\), and (?P<leader>[\d.]+) s \((?P<leader_most>[\d.]+) s at most\) "
            r"when it was the one that leads: measured under gloo in \[(?P<faults>\d+) faults\]",
        ),
        (
            "docs/elastic.md",
            r"of (?P<faults>\d+) faults every one was survived, and no completed step was lost; training went on after "
            r"(?P<crash>[\d.]+) s when a host crashed, (?P<silent>[\d.]+) s when it fell silent \(medians; at most "
            r"(?P<most>[\d.]+)\), after (?P<leader>[\d.]+) s \(at most (?P<leader_most>[\d.]+)\) when it was the one",
        ),
    ],
)
def test_pauses_are_those_of_the_faults_that_were_measured(page: str, wanted: str) -> None:
    found = re.search(wanted, told(page))
    assert found is not None
    lost, leader = (
        chaos(f"{row}, first pause: median, longest")
        for row in ("a host lost while the leader lives", "the leader's host lost")
    )
    assert {name: float(figure) for name, figure in found.groupdict().items()} == {
        "faults": chaos("faults, in how many blows, in how many runs")[0],
        "crash": chaos("host crashed", 2)[0],
        "silent": max(chaos(kind, 2)[0] for kind in SILENT),
        "most": lost[1],
        "leader": leader[0],
        "leader_most": leader[1],
    }
    assert chaos("runs that did not go on or end as they should") == [0]
    assert chaos("completed steps lost") == [0]
    assert chaos("largest relative difference of parameters and buffers from the undisturbed run")[0] <= 1e-6


@pytest.mark.parametrize(
    ("page", "wanted", "row"),
    [
        ("README.md", "X times the tokens/s of", "balanced / transformers' Trainer with peft under torchrun"),
        ("README.md", "and X times those of equal shares", "balanced / our equal shares"),
        ("README.md", "X ± Y of what the three make alone", "balanced, 24 rows a step / sum of the hosts alone"),
        ("README.md", "rows a step, X ± Y with 48", "balanced, 48 rows a step / sum of the hosts alone"),
        ("docs/slurm.md", "unequal shares X times as fast as equal ones", "unequal shares / equal shares"),
    ],
)  # fmt: skip
def test_ratios_are_those_of_the_benchmarks(page: str, wanted: str, row: str) -> None:
    found = re.search(wanted.replace("X", r"([\d.]+)").replace("Y", r"([\d.]+)"), told(page))
    assert found is not None
    measured, scatter = cell("tests/bench/RESULTS.md", row)[:2]
    said = float(found[1])
    assert 0 <= measured - said < 0.01, (said, measured)
    assert [float(one) for one in found.groups()[1:]] in ([], [scatter])


def test_what_is_said_of_scale_is_in_its_tables() -> None:
    rows = dict(re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "tests/bench/RESULTS.md").read_text("utf-8"), re.MULTILINE))
    of = {
        "coordinator at rest, of a core": "coordinator, N members: CPU at rest, of a core",
        "its memory": "coordinator, N members: memory",
        "all have called, and the first group is known":
            "coordinator, N members: until all have called and the first group is known",
        "a silent member is known to all after": "coordinator, N members: one that fell silent is known to all after",
        "one that hung up is known to all after": "coordinator, N members: one that hung up is known to all after",
        "the next group is known to all after": "coordinator, N members: the next group is known to all after",
        "console: CPU of a line of metrics": "console, N ranks: CPU of a line of metrics",
        "console: CPU of a painted screen": "console, N ranks: CPU of a painted screen",
    }  # fmt: skip
    page = (ROOT / "docs/scale.md").read_text("utf-8")
    rows_told = {name: cells.split("|") for name, cells in re.findall(r"^\| ([a-z].+?) \|(.*)\|$", page, re.MULTILINE)}
    assert rows_told.keys() == of.keys()
    for name, cells in rows_told.items():
        for number, said in zip(("100", "1,000", "3,000", "10,000"), map(str.strip, cells), strict=True):
            measured = rows.get(of[name].replace("N", number), "").partition(",")[0]
            assert said.replace(" %", "%") in (measured, ""), (name, number)
    (started,) = cell("tests/remote/CROWD.md", "100 hosts with 4 ranks each: checked, pushed to, all ranks started")
    assert f"100 hosts with 4 ranks each took {started} s until all ranks were started" in page
    (split,) = cell("tests/bench/RESULTS.md", "split")
    assert f"A split of 1,000,000 samples over 10,000 ranks takes {split:.0f} ms" in page
