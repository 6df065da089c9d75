"""docs/console.svg: the picture of the console in the README needs nothing from elsewhere, and shows the demo."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from docs import picture
from motley.remote.config.load import load

ROOT = Path(__file__).resolve().parents[1]
SVG = (ROOT / "docs" / "console.svg").read_text("utf-8")
SPACE = "http://www.w3.org/2000/svg"


def shown() -> str:
    """The text of the picture, line by line of the terminal."""
    rows: dict[float, str] = {}
    for part in ElementTree.fromstring(SVG).iter(f"{{{SPACE}}}text"):
        y = float(part.get("y", "0"))
        rows[y] = rows.get(y, "") + "".join(part.itertext())
    return "\n".join(rows.values()).replace("\N{NO-BREAK SPACE}", " ")


def test_the_readme_begins_with_it() -> None:
    head = (ROOT / "README.md").read_text("utf-8").partition("\n## ")[0]
    assert re.search(r"^!\[[^]]+\]\(docs/console\.svg\)$", head, re.MULTILINE)
    assert "make demo" in head
    assert "make test" in head


def test_it_fetches_nothing() -> None:
    assert set(re.findall(r"\b\w+://[^\s\"'<>)]+", SVG)) == {SPACE}
    assert "@font-face" not in SVG
    assert "@import" not in SVG
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", SVG))


def test_it_shows_the_demo_at_work_and_a_decision() -> None:
    text = shown()
    cluster = load(ROOT / "cluster.toml")
    for word in ("running", cluster.run.task, *(host.name for host in cluster.hosts), "throughput", "measured"):
        assert word in text, text


def test_what_would_be_fetched_is_taken_out() -> None:
    svg = '<style>@font-face {\n src: url("https://cdn.example/font.woff2");\n}\n.a { font-family: x; }</style>'
    assert picture.alone(svg) == f"<style>.a {{ font-family: {picture.FONTS}; }}</style>"
