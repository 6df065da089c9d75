"""The two looks of the console: calm colours that keep their contrast on dark and on light.

`preferred()` reads what the terminal says of its background (COLORFGBG); without a word of it, dark.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

DARK = Theme(
    name="motley-dark",
    dark=True,
    primary="#7aa2f7",
    secondary="#b69cf0",
    accent="#6cc4d9",
    success="#8fc97a",
    warning="#e0b062",
    error="#ef7f86",
    foreground="#d5d9e0",
    background="#14161b",
    surface="#1a1d23",
    panel="#262a33",
    variables={"faint": "#8a93a3", "rule": "#3a404c"},
)
LIGHT = Theme(
    name="motley-light",
    dark=False,
    primary="#2f5fc4",
    secondary="#7445b8",
    accent="#0b6f86",
    success="#2f7a24",
    warning="#8a5a00",
    error="#b3262e",
    foreground="#22252b",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e6e3dc",
    variables={"faint": "#626872", "rule": "#c9c5bb"},
)


def preferred(environ: Mapping[str, str]) -> str:
    """The theme for a terminal with this environment."""
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name
