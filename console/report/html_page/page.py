"""A page that stands alone: one file, its style in it, no script. Light and dark as the reader has it.

All text goes through `html.escape` here and in `svg_chart`: it came from hosts. The page forbids by its own policy
whatever is not in it, so that a browser asks nobody for anything.

>>> page("night", [section("goodput", paragraphs(["83 % of 1:15"]))])
'<!doctype html>…'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from motley.console.report.tables import Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #646c76; --line: #d9dde2; --warn: #8a5a00;
  --bad: #b3261e; --good: #1a7f37; --c0: #0b6bcb; --c1: #c2410c; --c2: #15803d; --c3: #9333ea; --c4: #b45309;
  --c5: #0e7490; --c6: #be185d; --c7: #4d5b6a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --soft: #9aa4af; --line: #333a42;
  --warn: #e0b050; --bad: #ff8a80; --good: #5fd38d; --c0: #63b3ff; --c1: #ff9560; --c2: #5fd38d; --c3: #c99bff;
  --c4: #f0b429; --c5: #4fd1e0; --c6: #ff85b8; --c7: #aab6c2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .note { color: var(--warn); } .bad { color: var(--bad); } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.n, th.n { text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
td.best { color: var(--good); font-weight: 600; } td:last-child { min-width: 10rem; } td.n:last-child { min-width: 0; }
figure { margin: 1rem 0 2rem; } figcaption { color: var(--soft); }
.plot { display: grid; grid-template-columns: 4.5rem 1fr; gap: .5rem; height: 14rem; }
.plot svg { width: 100%; height: 14rem; display: block; }
.y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; }
.x { display: flex; justify-content: space-between; margin-left: 5rem; }
.x, .y { color: var(--soft); font-size: .8rem; }
path { fill: none; stroke: var(--c); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
path.dot { stroke-width: 8; stroke-linecap: round; } path.dashed { stroke-dasharray: 6 4; }
 .grid, .mark { vector-effect: non-scaling-stroke; stroke: var(--line); }
.mark { stroke: var(--soft); stroke-dasharray: 3 3; }
.key::before { content: ""; display: inline-block; width: 1.2em; border-top: 3px solid var(--c);
  margin: 0 .4em .25em 0; }
.key.dashed::before { border-top-style: dashed; } .key { margin-right: 1rem; color: var(--ink); font-size: .85rem; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); }
.c4 { --c: var(--c4); } .c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 30rem) { body { padding: .6rem; font-size: 14px; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .35rem; } .plot { grid-template-columns: 3.2rem 1fr; height: 10rem; } .plot svg { height: 10rem; }
  .x { margin-left: 3.7rem; } }
"""


def page(title: str, parts: Iterable[str], *, footer: str = "") -> str:
    """`parts` are HTML already; the title and the footer are text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>{escape(footer)}</footer></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Empty where no part has anything."""
    body = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return "".join(f"<p{style}>{escape(text)}</p>" for text in texts)


def facts(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl>{body}</dl>" if body else ""


def table(of: Table) -> str:
    """Its title, then its rows; empty where it has none."""
    if not of.rows:
        return ""

    def cell(kind: str, row: int, column: int, text: str) -> str:
        styles = [*(["n"] if column in of.right else []), *(["best"] if (row, column) in of.marked else [])]
        return f"<{kind}{_class(styles)}>{escape(text)}</{kind}>"

    head = "".join(cell("th", -1, i, name) for i, name in enumerate(of.columns))
    rows = "".join(
        f"<tr>{''.join(cell('td', number, i, text) for i, text in enumerate(row))}</tr>"
        for number, row in enumerate(of.rows)
    )
    more = paragraphs([f"{of.left_out:,} more are left out"], "soft") if of.left_out else ""
    return section(of.title, f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>{more}')


def _class(styles: Sequence[str]) -> str:
    return f' class="{" ".join(styles)}"' if styles else ""
