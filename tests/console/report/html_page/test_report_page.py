"""The page of a report: one file that asks nobody for anything, in which nothing that came from hosts is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from motley.console.report.html_page import page
from motley.console.report.html_page.report_page import report_page
from motley.console.report.read_report import read
from motley.console.report.tables import Table
from motley.remote.errors import NotWritten
from motley.remote.experiment.local_disk import write_file
from tests.console.report.experiments import event, step, summary, write

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&lt;'


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "link", "line", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "path"):
            assert self.open.pop() == tag


def a_page(folder: Path, name: str) -> str:
    """Whose hosts, texts and settings are called `name`."""
    rows = [{"member": m, "host": f"{m}{name}", "rank": m, "device": name} for m in (0, 1)]
    events = [
        event("group", name, 0.5, generation=0, members=rows),
        event("report", name, 1.0, steps_total=5, shares=[32, 32]),
        event("decision", name, 1.2, step=2, before=[32, 32], after=[40, 24], why=name),
        event("evaluated", "", 1.5, step=3, epoch=1, loss=0.3, figures={name: 2.0}),
        event("evaluated", "", 1.6, step=5, epoch=2, loss=0.2, figures={name: 2.0}),
        event("lost", name, 1.6, name, "error", member=1),
    ]
    lines = [sample for number in range(1, 6) for sample in step(number)]
    regroups = [{"cause": name, "host": name, "step_before": 3, "step_after": 2, "pause_s": 1.0}]
    told = summary(state="failed", cause=name, regroups=regroups, hosts=[{"name": name, "state": name}])
    toml = f"[run]\ntask = '''{name}'''\n[task]\n'''{name}''' = '''{name}'''\n"
    return report_page(read(write(folder, events, lines, told=told, toml=toml)))


def test_what_came_from_hosts_is_text_and_never_markup(tmp_path: Path) -> None:
    plain, crafted = (Tags(a_page(tmp_path / str(i), name)) for i, name in enumerate(("box", EVIL)))
    assert crafted.tags == plain.tags
    assert crafted.attributes == plain.attributes
    assert not crafted.open
    assert not {"script", "img", "a", "iframe", "object", "form"} & set(crafted.tags)
    assert not {"src", "onerror", "onload", "onclick"} & crafted.attributes


def test_nothing_in_it_is_from_elsewhere(tmp_path: Path) -> None:
    text = a_page(tmp_path / "night", "box")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert "default-src 'none'" in text
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]


def test_it_has_a_light_face_and_a_dark_one_and_draws_its_curves(tmp_path: Path) -> None:
    text = a_page(tmp_path / "night", "box")
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text
    for title in ("samples/s", "loss", "shares over time", "goodput", "regroups", "what balancing saved"):
        assert title in text
    assert text.count("<svg") == 3
    assert all(0 <= float(n) <= 1000 for d in re.findall(r' d="M([^"]*)"', text) for n in re.findall(r"[\d.]+", d))


def test_a_run_of_which_nothing_is_known_is_a_page_too(tmp_path: Path) -> None:
    text = report_page(read(write(tmp_path / "night", toml=None)))
    assert "how it ended is not known" in text
    assert "<svg" not in text


def test_a_page_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"can't be written: .*Name another FILE"):
        write_file(tmp_path / "nowhere" / "night.html", "x")
    assert page.table(Table(title="none", columns=("a",), rows=())) == ""
    assert page.facts([]) == page.section("none") == ""
